"""Which events a filter lets pass, and the search for them through a long trace."""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple

from playground.dashboard.event_log import EventLog
from playground.dashboard.expressions import certain

BUDGET_S = 0.02
"""Time that a search takes of one frame."""
REGEX_S = 0.5
"""An expression that needs longer for one event is given up."""
_TOKEN = re.compile(r"(!?)/((?:[^/\\]|\\.)+)(?:/|$)|(!?)(\S+)")
_FIELDS = {"kind": b"kind", "node": b"name", "name": b"name"}
_KIND = b'"kind":'
_SINGLE = re.compile(rb"\\[AZG]|\(\?")
"""What in an expression may mean something else when it is tried on many lines at once."""


class _Word(NamedTuple):
    wanted: bool
    field: bytes
    """Of the event that is looked at; empty for kind, name and data together."""
    text: bytes
    """Lower case."""


class EventFilter:
    """Words that an event's kind, name or data must hold, as many as there are.

    `!word` must be absent, `kind:` and `node:` look at one of them, `/expression/` is a regular expression. Case does
    not matter. `problem` says what is wrong with an expression; such a filter lets nothing pass.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.problem = ""
        self._words: list[_Word] = []
        self._expressions: list[tuple[bool, Any]] = []
        self._certain: list[bytes] = []
        """What must be there for an expression to match, in small letters."""
        for no_match, expression, no_word, word in _TOKEN.findall(self.text):
            if expression:
                self._add_expression(expression, wanted=not no_match)
            else:
                self._add_word(word.lower(), wanted=not no_word)

    def _add_word(self, word: str, *, wanted: bool) -> None:
        field, colon, value = word.partition(":")
        if colon and field in _FIELDS:
            self._words.append(_Word(wanted, _FIELDS[field], value.rstrip("*").encode("utf-8", "replace")))
        elif word:
            self._words.append(_Word(wanted, b"", word.encode("utf-8", "replace")))

    def _add_expression(self, expression: str, *, wanted: bool) -> None:
        # `re` cannot be stopped, and some expressions take for ever.
        import regex

        try:
            flags = regex.IGNORECASE | regex.MULTILINE
            self._expressions.append((wanted, regex.compile(expression.encode(), flags)))
            if wanted and (found := certain(expression)):
                self._certain.append(found.encode().lower())
        except regex.error as error:
            self.problem = f"/{expression}/: {error}"

    def __bool__(self) -> bool:
        return bool(self._words or self._expressions or self.problem)

    @property
    def has_expressions(self) -> bool:
        """Whether there are regular expressions in it."""
        return bool(self._expressions)

    def may_match(self, text: bytes) -> bool:
        """False when no line of a text (kinds, names and data of events, a line for each) can pass."""
        if self.problem:
            return False
        lowered = text.lower() if self._words else b""
        if any(word.wanted and word.text not in lowered for word in self._words):
            return False
        for wanted, expression in self._expressions:
            if wanted and not _SINGLE.search(expression.pattern):
                try:
                    if expression.search(text, timeout=REGEX_S) is None:
                        return False
                except TimeoutError:
                    # One event at a time may still do.
                    return True
        return True

    def may_match_piece(self, data: bytes) -> bool:
        """As `may_match`, of a piece of a trace as it is stored; expressions are tried on its events."""
        from penguiflow.state.sieve import may_hold

        if self.problem:
            return False
        lowered = data.lower()
        words = [*(word.text for word in self._words if word.wanted), *self._certain]
        return all(may_hold(data, lowered, word) for word in words)

    def matches(self, raw: bytes) -> bool:
        """Whether an event passes. An expression that takes too long is told in `problem`, and lets nothing pass."""
        if self.problem:
            return False
        text = raw[max(raw.find(_KIND), 0) :]
        lowered = text.lower()
        for wanted, field, word in self._words:
            found = _in_field(lowered, field, word) if field else word in lowered
            if found != wanted:
                return False
        for wanted, expression in self._expressions:
            try:
                found = expression.search(text, timeout=REGEX_S) is not None
            except TimeoutError:
                self.problem = "the expression takes too long"
                return False
            if found != wanted:
                return False
        return True


def _in_field(lowered: bytes, field: bytes, word: bytes) -> bool:
    match = re.search(rb'"%s"\s*:\s*"([^"]*)' % field, lowered)
    return match is not None and word in match.group(1)


class EventSearch:
    """The events of a trace that pass a filter, found a little at a time."""

    def __init__(
        self, events: EventLog, chosen: EventFilter, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.found = array("Q")
        """Indexes of the events that passed so far, in order."""
        self.scanned = 0
        """Events that were looked at."""
        self.events = events
        self._filter = chosen
        self._clock = clock

    @property
    def busy(self) -> bool:
        """True while there are events that were not looked at."""
        return self.scanned < len(self.events)

    def go_on(self, budget_s: float | None = None) -> bool:
        """Look at more events, for about `budget_s` (20 ms unless told); True when there were any."""
        if not self.busy:
            return False
        deadline = self._clock() + (BUDGET_S if budget_s is None else budget_s)
        matches = self._filter.matches
        for number, first, last in self.events.stretches(self.scanned, len(self.events)):
            # Most pages hold none of what is looked for, which is seen at once.
            if self._may_match(number):
                page, base = self.events.page(number), self.events.first(number)
                for index in range(first, last):
                    if matches(page[index - base]):
                        self.found.append(index)
                    if self._clock() > deadline:
                        self.scanned = index + 1
                        return True
            self.scanned = last
            if self._clock() > deadline:
                return True
        return True

    def _may_match(self, number: int) -> bool:
        data = self.events.piece(number)
        if data is not None and not self._filter.may_match_piece(data):
            return False
        return (data is not None and not self._filter.has_expressions) or self._filter.may_match(
            self.events.text(number)
        )

    def row_of(self, index: int) -> int:
        """Place among those found of an event, or of the first one after it."""
        return bisect_left(self.found, index)
