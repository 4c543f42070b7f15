"""What is typed over the list of runs: which of them are meant, and what the store is asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playground.dashboard.runs import RunLine

__all__ = ["RunFilter", "read_time"]

STATUSES = frozenset({"running", "paused", "ok", "error", "timeout", "cancelled", "interrupted"})
_FIELDS = frozenset({"flow", "status", "error", "session"})
_TIMES = frozenset({"since", "before"})
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")


def read_time(text: str, now: float) -> float | None:
    """`30m`, `2h`, `3d` ago, `today`, `yesterday`, or an ISO date or time, as unix seconds; None for anything else."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - float(ago[1]) * _UNITS[ago[2]]
    if text in {"today", "yesterday"}:
        midnight = datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - timedelta(days=text == "yesterday")).timestamp()
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


class RunFilter:
    """All words are found; `!word` must not be; `flow:`, `status:`, `session:` and `error:` look at one field.

    `since:2h` and `before:2026-01-31` look at when a run began, `is:fork`, `is:replay` and `is:background` at where it
    came from. A word that is not typed to its end, such as `since:`, is left out.
    """

    def __init__(self, text: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self.text = text.strip()
        self._words: list[tuple[bool, str, str]] = []
        self._times: dict[str, float] = {}
        self._asked: dict[str, Any] = {}
        now = clock()
        for given in self.text.lower().split():
            wanted = not given.startswith("!")
            word = given.lstrip("!")
            field, colon, value = word.partition(":")
            if colon and field in _TIMES:
                moment = read_time(value, now)
                if moment is not None:
                    self._times[field] = moment
            elif colon and (field in _FIELDS or field == "is"):
                self._words.append((wanted, field, value))
                self._ask(wanted, field, value)
            elif word:
                self._words.append((wanted, "", word))
                self._ask(wanted, "", word)

    def __bool__(self) -> bool:
        return bool(self._words or self._times)

    @property
    def background(self) -> bool:
        """Whether what runs left to the background is meant: it is in no other list."""
        return "background" in self._asked

    def _ask(self, wanted: bool, field: str, value: str) -> None:
        if not wanted or not value:
            return
        if field == "status" and value in STATUSES:
            self._asked["status"] = value
        elif field == "is" and value == "background":
            self._asked["background"] = True
        elif field in {"", "flow", "error"}:
            self._asked.setdefault("text", value)

    def matches(self, line: RunLine) -> bool:
        """Whether a run is meant."""
        if line.origin is not None and line.origin.background and not self.background:
            return False
        if self._times and not self._in_time(line.started):
            return False
        everything = line.words() if self._words else ""
        for wanted, field, word in self._words:
            if field == "is":
                found = line.origin is not None and word in line.origin.kind
            elif field:
                found = word in str(getattr(line, field) or "").lower()
            else:
                found = word in everything
            if found != wanted:
                return False
        return True

    def _in_time(self, started: float) -> bool:
        return self._times.get("since", started) <= started <= self._times.get("before", started)

    def query(self, limit: int, *, before: float | None = None) -> dict[str, Any]:
        """What a store is to be asked for, by the fields of its query: at least what matches."""
        asked = {**self._asked, **self._times, "limit": limit}
        if before is not None:
            asked["before"] = min(before, asked.get("before", before))
        return asked
