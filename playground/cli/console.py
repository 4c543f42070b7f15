"""Where commands write: results to stdout, narration to stderr, nothing that could steer a terminal."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from contextlib import suppress
from typing import Any, TextIO

from playground.cli.failures import Failure
from playground.dashboard.text import many_lines
from playground.render.paint import Paint, painter, wants_color

__all__ = ["Console", "json_text", "safe_json"]

_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")


def safe_json(text: str) -> str:
    """JSON whose strings hold no control, bidi or lone surrogate characters: those are escaped, the values the same."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON text that can be written anywhere."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, indent=indent)
    return safe_json(text)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


class Console:
    """The two streams of a command. A reader that goes away is no error: what is left is not written."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        for stream in (self._out, self._err):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")
        self.out_terminal = self._out.isatty()
        self.err_terminal = self._err.isatty() and os.environ.get("TERM") != "dumb"
        self.out_paint: Paint = painter(wants_color(self._out))
        self.err_paint: Paint = painter(wants_color(self._err))

    @property
    def width(self) -> int | None:
        """Columns of the terminal that shows stdout; None when it is none, so that nothing is cut."""
        return shutil.get_terminal_size((80, 24)).columns if self.out_terminal else None

    @property
    def err_width(self) -> int:
        """Columns of the terminal that shows stderr."""
        try:
            return os.get_terminal_size(self._err.fileno()).columns
        except (OSError, ValueError):
            return 80

    def write(self, text: str) -> None:
        """Write to stdout as it is. Raises `BrokenPipeError` when nobody reads it any more."""
        self._out.write(text)

    def line(self, text: str = "") -> None:
        """Write one line to stdout; what users' payloads contain must have been made safe."""
        self._out.write(text + "\n")

    def json(self, value: Any, *, indent: int | None = None) -> None:
        """Write a value to stdout as JSON."""
        self._out.write(json_text(value, indent=indent) + "\n")

    def flush(self) -> None:
        """Send what was written to stdout on its way."""
        self._out.flush()

    def tell(self, text: str, end: str = "\n") -> None:
        """Write to stderr, at once; what users' payloads contain must have been made safe."""
        with suppress(BrokenPipeError):
            self._err.write(text + end)
            self._err.flush()

    def fail(self, failure: Failure) -> None:
        """Say on stderr what went wrong, and what to do."""
        self.tell(f"{self.err_paint('error', 'pf:')} {many_lines(failure.message)}")
        for line in failure.details:
            self.tell(f"  {many_lines(line)}")
        if failure.hint:
            self.tell(f"  {self.err_paint('dim', 'hint:')} {many_lines(failure.hint)}")

    def abandon(self) -> None:
        """Stop writing to streams whose reader is gone, so that the interpreter's last flush is silent."""
        for stream in (self._out, self._err):
            try:
                stream.flush()
            except BrokenPipeError:
                with suppress(OSError, ValueError):
                    null = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(null, stream.fileno())
                    os.close(null)
