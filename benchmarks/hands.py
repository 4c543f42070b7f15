"""Somebody at a terminal: presses keys, and looks whether they do what they should.

Each method wants the screen to be another one before: what was there anyway would prove nothing of the keys.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from benchmarks.terminal import Terminal

UP, DOWN, RIGHT, LEFT = b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D"
HOME, END, PAGE_UP, PAGE_DOWN = b"\x1b[H", b"\x1b[F", b"\x1b[5~", b"\x1b[6~"
ESCAPE, ENTER, TAB, BACK_TAB, BACKSPACE, DELETE = b"\x1b", b"\r", b"\t", b"\x1b[Z", b"\x7f", b"\x1b[3~"
CTRL_HOME, CTRL_END = b"\x1b[1;5H", b"\x1b[1;5F"
F1, F5 = b"\x1bOP", b"\x1b[15~"
LIMIT_S = 60.0
_CURSOR = re.compile(r"┃▎(.*?)[┃█]")


def ctrl(letter: str) -> bytes:
    """Ctrl and a letter."""
    return bytes([ord(letter) & 0x1F])


class Hands(Terminal):
    """A terminal, and what a person does with it."""

    def __enter__(self) -> Hands:
        return self

    def brings(self, keys: bytes, *needles: str) -> None:
        """Press keys, and wait for all of these; one of them must not be on the screen before."""
        self.until_so(lambda: not self.shows(*needles), f"{needles} are there before {keys!r}")
        self.press(keys)
        self.until_shown(*needles)

    def clears(self, keys: bytes, *needles: str) -> None:
        """Press keys, and wait until none of these is on the screen any more; all of them must be there before."""
        self.until_shown(*needles)
        self.press(keys)
        self.until_so(lambda: not any(map(self.shows, needles)), f"{needles} do not go away")

    def shows(self, *needles: str) -> bool:
        """Whether all of these are on the screen."""
        screen = self.screen()
        return all(needle in screen for needle in needles)

    def moves(self, keys: bytes, *needles: str) -> None:
        """Press keys, and wait until the row under the cursor says this; it must not say so before."""

        def there() -> bool:
            row = self.row()
            return all(needle in row for needle in needles)

        self.until_so(lambda: not there(), f"the cursor is at {needles} before {keys!r}")
        self.press(keys)
        self.until_so(there, f"the cursor does not come to {needles}")

    def changes(self, keys: bytes, look: Callable[[], object]) -> None:
        """Press keys, and wait until `look` gives something else."""
        before = look()
        self.press(keys)
        self.until_so(lambda: look() != before, f"it stays {before!r} after {keys!r}")

    def until_so(self, holds: Callable[[], object], what: str) -> None:
        """Wait for anything that can be seen on the screen."""
        deadline = time.monotonic() + LIMIT_S
        while not holds():
            assert time.monotonic() < deadline, f"{what}:\n{self.screen()}"
            self.read(0.02)

    def row(self) -> str:
        """The row under the cursor of the focused pane."""
        found = _CURSOR.search(self.screen())
        return "" if found is None else found[1].strip()

    def line(self, needle: str) -> str:
        """The first line of the screen with this in it; empty when there is none."""
        return next((line for line in self.screen().split("\n") if needle in line), "")
