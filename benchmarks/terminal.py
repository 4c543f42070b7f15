"""A program in a terminal of its own: a pty, what it wrote so far, and keys to press."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pyte

PF = Path(sys.executable).with_name("pf")
# The pty becomes the controlling terminal, so that a change of its size is told to the program.
_LEAD = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[@-Z\\-_])")
_NOT_FOR_PYTE = re.compile(
    rb"\x1b\[[0-9;]*m|\x1b\[[<>=?][0-9;$]*[a-zA-Z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\"
)
"""Private modes, titles and queries, which it does not know, and colors, which nobody asks it for."""

_MODES = re.compile(rb"\x1b\[\?(?P<numbers>[0-9;]+)(?P<state>[hl])|\x1b\[(?P<keys>[<>])[0-9]*u")
_USUAL = {b"7", b"25"}
"""Private modes that are on before a program begins: lines wrap, the cursor is seen."""


class Terminal:
    """Runs a command in a pty of the given size; use as a context manager."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        size: tuple[int, int] = (120, 40),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.output = bytearray()
        self._fed = 0
        self._shown: str | None = None
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        self.resize(*size)
        self._settings = termios.tcgetattr(self._master)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        # Textual believes COLUMNS and LINES more than the terminal.
        for name in ("PYTHONDONTWRITEBYTECODE", "COLUMNS", "LINES"):
            environment.pop(name, None)
        if "tui" in command:
            # Coverage doubles what drawing costs, and tests without a terminal cover the same code.
            for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
                environment.pop(name, None)
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _LEAD, *(str(part) for part in command)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.wait(5.0)
            except TimeoutError:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        os.close(self._master)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)
        self._shown = None

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def read(self, timeout: float) -> bytes:
        """What arrives within `timeout`; empty when nothing does, or the program is gone."""
        ready, _, _ = select.select([self._master], [], [], timeout)
        if not ready:
            return b""
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            return b""
        self.output += data
        return data

    def read_all(self, timeout: float) -> bool:
        """As `read`, with all that waits by then, within reason; False when nothing came."""
        if not self.read(timeout):
            return False
        for _ in range(64):
            if not self.read(0.0):
                break
        return True

    def text(self, start: int = 0) -> str:
        """What was written since `start`, without escape sequences."""
        return _ESCAPES.sub(b"", bytes(self.output[start:])).decode("utf-8", "replace")

    def until(self, *needles: str, timeout: float = 60.0, start: int = 0) -> float:
        """Wait until all of these were written; returns the seconds since the program was started."""
        deadline = time.perf_counter() + timeout
        while not all(needle in (seen := self.text(start)) for needle in needles):
            if time.perf_counter() > deadline or (not self.read_all(0.05) and self.process.poll() is not None):
                raise TimeoutError(f"{needles} did not appear; last seen: {seen[-20000:]}")
        return time.perf_counter() - self.started

    def screen(self) -> str:
        """What a person sees at this moment, line by line."""
        if self._fed == len(self.output) and self._shown is not None:
            return self._shown
        fresh = _NOT_FOR_PYTE.sub(b"", bytes(self.output[self._fed :]))
        # An escape sequence that is not complete yet waits for the rest of it.
        cut = fresh.rfind(b"\x1b")
        if cut >= 0 and not _ESCAPES.match(fresh, cut):
            fresh = fresh[:cut]
            self._fed = self.output.rindex(b"\x1b")
        else:
            self._fed = len(self.output)
        self._stream.feed(fresh)
        cells, columns = self._screen.buffer, range(self._screen.columns)
        # What stands right of a wide character is empty: `display` measures every cell to say the same.
        lines = ("".join(cells[row][column].data for column in columns) for row in range(self._screen.lines))
        self._shown = "\n".join(lines)
        return self._shown

    def until_shown(self, *needles: str, timeout: float = 60.0) -> None:
        """Wait until all of these stand on the screen at once."""
        deadline = time.perf_counter() + timeout
        while not all(needle in (seen := self.screen()) for needle in needles):
            if time.perf_counter() > deadline or (not self.read_all(0.05) and self.process.poll() is not None):
                raise TimeoutError(f"{needles} did not appear; the screen:\n{seen}")

    def settle(self, quiet: float = 0.3, timeout: float = 5.0) -> None:
        """Read until nothing more comes for a while."""
        deadline = time.perf_counter() + timeout
        while self.read(quiet) and time.perf_counter() < deadline:
            pass

    def left_behind(self) -> list[str]:
        """What a program that has ended did not put back: modes of the terminal, and how it takes keys."""
        modes: dict[bytes, bytes] = {}
        pushed = 0
        for match in _MODES.finditer(self.output):
            if match["numbers"]:
                modes.update(dict.fromkeys(match["numbers"].split(b";"), match["state"]))
            else:
                pushed += 1 if match["keys"] == b">" else -1
        wrong = [f"mode {number.decode()}" for number, state in modes.items() if (state == b"l") == (number in _USUAL)]
        wrong += ["keyboard"] if pushed else []
        return wrong + (["termios"] if termios.tcgetattr(self._master) != self._settings else [])

    def wait(self, timeout: float) -> int:
        """Read on until the program has ended; returns its exit code."""
        deadline = time.perf_counter() + timeout
        while self.process.poll() is None:
            if time.perf_counter() > deadline:
                raise TimeoutError("the program did not end")
            self.read(0.02)
        while self.read(0.0):
            pass
        return self.process.returncode


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
