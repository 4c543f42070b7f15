"""Which events a filter lets pass."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from playground.dashboard.event_log import Heads
from playground.dashboard.expressions import certain

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
        self._needles: list[bytes] = []
        """What must be there for an event to pass, in small letters."""
        for no_match, expression, no_word, word in _TOKEN.findall(self.text):
            if expression:
                self._add_expression(expression, wanted=not no_match)
            else:
                self._add_word(word.lower(), wanted=not no_word)

    def _add_word(self, word: str, *, wanted: bool) -> None:
        field, colon, value = word.partition(":")
        if colon and field in _FIELDS:
            found = _Word(wanted, _FIELDS[field], value.rstrip("*").encode("utf-8", "replace"))
        elif word:
            found = _Word(wanted, b"", word.encode("utf-8", "replace"))
        else:
            return
        self._words.append(found)
        if wanted:
            self._needles.append(found.text)

    def _add_expression(self, expression: str, *, wanted: bool) -> None:
        # `re` cannot be stopped, and some expressions take for ever.
        import regex

        try:
            flags = regex.IGNORECASE | regex.MULTILINE
            self._expressions.append((wanted, regex.compile(expression.encode(), flags)))
            if wanted and (found := certain(expression)):
                self._needles.append(found.encode().lower())
        except regex.error as error:
            self.problem = f"/{expression}/: {error}"

    def __bool__(self) -> bool:
        return bool(self._words or self._expressions or self.problem)

    @property
    def has_expressions(self) -> bool:
        """Whether there are regular expressions in it."""
        return bool(self._expressions)

    @property
    def only_heads(self) -> bool:
        """Whether an event's kind and name tell if it passes."""
        return not self._expressions and all(word.field for word in self._words)

    def may_match_heads(self, heads: Heads | None) -> bool:
        """False when no event with these kinds and names can pass; None: it is not known which they are."""
        if self.problem:
            return False
        if heads is None:
            return True
        for word in self._words:
            text = heads.kinds if word.field == _FIELDS["kind"] else heads.names
            if word.wanted and word.field and text is not None and word.text not in text:
                return False
        return True

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

    def may_match_piece(self, data: bytes, *, refers: bool = True) -> bool:
        """As `may_match`, of a piece of a trace as it is stored; expressions are tried on its events.

        Not `refers`: no payload of it is kept elsewhere.

        May be called in several threads at once.
        """
        from penguiflow.state.sieve import may_hold

        if self.problem:
            return False
        return all(may_hold(data, word, elsewhere=refers) for word in self._needles)

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
