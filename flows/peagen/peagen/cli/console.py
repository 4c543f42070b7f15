"""What a command says: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

QUIET, NORMAL, VERBOSE, DEBUG = -1, 0, 1, 2


class Console:
    """Where a command writes.

    Args:
        level: `QUIET` says errors only, `VERBOSE` each step, `DEBUG` whole graphs and prompts.
    """

    def __init__(self, level: int = NORMAL) -> None:
        self.level = level

    def result(self, text: str) -> None:
        """A line that somebody may read with a program."""
        _write(sys.stdout, text)

    def json(self, value: Any) -> None:
        """A result as JSON."""
        self.result(json.dumps(value, ensure_ascii=False, indent=2, default=str))

    def note(self, text: str) -> None:
        """What goes on; nothing with `--quiet`."""
        if self.level > QUIET:
            _write(sys.stderr, text)

    def detail(self, text: str) -> None:
        """What goes on, more closely; with `-v`."""
        if self.level >= VERBOSE:
            _write(sys.stderr, text)

    def warn(self, text: str) -> None:
        """What somebody should look at."""
        self.note(f"[WARNING] {text}")

    def error(self, text: str, mark: str = "[ERROR] ") -> None:
        """What went wrong; always said."""
        _write(sys.stderr, f"{mark}{text}")


def _write(stream: TextIO, text: str) -> None:
    # A name of a file may hold what is no text at all, and a terminal may not know a character.
    safe = text.encode(stream.encoding or "utf-8", "backslashreplace").decode(stream.encoding or "utf-8")
    stream.write(safe + "\n")
    stream.flush()


def configure_logging(level: int) -> None:
    """Log on stderr: warnings, with `-v` what is done, with `-vv` everything."""
    chosen = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.INFO}.get(level, logging.DEBUG)
    logger = logging.getLogger("peagen")
    logger.setLevel(chosen)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(name)s][%(levelname)s] %(message)s"))
    logger.handlers = [handler]
