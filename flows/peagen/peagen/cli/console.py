"""What a command says: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any, TextIO

QUIET, NORMAL, VERBOSE, DEBUG = -1, 0, 1, 2
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BEYOND = re.compile(r"[\x7f-\x9f\ud800-\udfff]")


class Console:
    """Where a command writes.

    Args:
        level: `QUIET` says errors only, `VERBOSE` each step, `DEBUG` whole graphs and prompts.
    """

    def __init__(self, level: int = NORMAL) -> None:
        self.level = level

    @property
    def encoding(self) -> str:
        """That of stderr."""
        return sys.stderr.encoding or "utf-8"

    def result(self, text: str) -> None:
        """A line that somebody may read with a program."""
        _write(sys.stdout, text)

    def json(self, value: Any) -> None:
        """A result as JSON."""
        beyond_ascii = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
        text = json.dumps(value, ensure_ascii=not beyond_ascii, indent=2, default=str)
        # JSON has its own way to say what steers a terminal, and what is no character.
        self.result(_BEYOND.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

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


def printable(text: str, encoding: str) -> str:
    """The text as it may be shown: names and answers come from elsewhere, and must not steer the terminal."""
    shown = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _write(stream: TextIO, text: str) -> None:
    stream.write(printable(text, stream.encoding or "utf-8") + "\n")
    stream.flush()


def configure_logging(level: int) -> None:
    """Log on stderr: warnings, with `-v` what is done, with `-vv` everything."""
    chosen = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.INFO}.get(level, logging.DEBUG)
    logger = logging.getLogger("peagen")
    logger.setLevel(chosen)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(name)s][%(levelname)s] %(message)s"))
    logger.handlers = [handler]
    # The flow that a run is logs each failure with its traceback, too; the command tells what failed.
    logging.getLogger("penguiflow").handlers = [handler if chosen == logging.DEBUG else logging.NullHandler()]
