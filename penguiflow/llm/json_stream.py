"""The text of one field of a JSON reply while the reply is still coming."""

from __future__ import annotations

import re

from penguiflow.llm.text import Joiner

__all__ = ["FieldStream"]

_STRUCTURE = re.compile(r'["{}\[\],:]')
_END = re.compile(r'["\\]')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")


class FieldStream:
    """Takes a reply piece by piece and gives the text of a field as it becomes known.

    The field is the first key of this name, at whatever depth, whose value is a string. What stands around the JSON is
    passed over. No piece that is given out has half of a character in it, wherever the reply was cut.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        self._left = ""  # an escape that was cut
        self._open: list[str] = []  # the objects and lists that we are in
        self._key: list[str] = []
        self._at_key = False
        self._is_value = False  # of the field
        self._inside = ""  # the string that we are in: "key", "value" of the field, "other"
        self._joiner = Joiner()
        self._said: list[str] = []
        self.done = False
        """Whether the field is complete."""

    @property
    def text(self) -> str:
        """What was given out by now."""
        return "".join(self._said)

    def feed(self, piece: str) -> str:
        """Take a piece of the reply; give what it adds to the field."""
        if self.done:
            return ""
        reply, place, given = self._left + piece, 0, list[str]()
        self._left = ""
        while place < len(reply) and not self.done:
            place = self._string(reply, place, given) if self._inside else self._structure(reply, place)
        text = "".join(given)
        if text:
            self._said.append(text)
        return text

    def _structure(self, reply: str, place: int) -> int:
        """Go on to the next sign that means something outside of strings."""
        found = _STRUCTURE.search(reply, place)
        if found is None:
            return len(reply)
        sign = found[0]
        if sign in "{[":
            self._open.append(sign)
            self._at_key, self._is_value = sign == "{", False
        elif sign in "}]":
            if self._open:
                self._open.pop()
            self._at_key = self._is_value = False
        elif self._open:
            self._within(sign)
        return found.end()

    def _within(self, sign: str) -> None:
        if sign == '"':
            self._inside = "key" if self._at_key else "value" if self._is_value else "other"
            self._key = []
        elif sign == ":":
            self._is_value = self._at_key and "".join(self._key) == self._field
            self._at_key = False
        else:
            self._at_key, self._is_value = self._open[-1] == "{", False

    def _string(self, reply: str, place: int, given: list[str]) -> int:
        """Go on to the end of the string, or to its next escape and over it."""
        found = _END.search(reply, place)
        end = len(reply) if found is None else found.start()
        if end > place:
            self._take(reply[place:end], given)
        if found is None:
            return end
        if found[0] == '"':
            if self._inside == "value":
                given.append(self._joiner.end())
                self.done = True
            self._inside = ""
            return end + 1
        needed = 6 if reply[end + 1 : end + 2] == "u" else 2
        if len(reply) < end + needed:
            self._left = reply[end:]
            return len(reply)
        sign = reply[end + 1]
        digits = reply[end + 2 : end + 6]
        if sign != "u":
            self._take(_ESCAPES.get(sign, sign), given)
        elif _HEX.fullmatch(digits):
            self._take(chr(int(digits, 16)), given)
        else:  # no escape at all: take the two signs away, and go on behind them
            needed = 2
        return end + needed

    def _take(self, text: str, given: list[str]) -> None:
        if self._inside == "value":
            given.append(self._joiner.feed(text))
        elif self._inside == "key":
            self._key.append(text)
