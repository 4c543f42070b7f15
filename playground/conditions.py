"""Conditions of breakpoints: a small language over the payload of a checkpoint, as JSON.

`args.url == "b" or "error" in observation and not items[0].done`

| part | what there is |
| --- | --- |
| literals | numbers, strings in either quotes, `true false null` (`True False None` too), lists of values |
| names | a key of the payload where that is an object; `payload` for all of it, unless it has a key of that name |
| access | `.key` of an object; `[…]` of an object, a list or a text (from the end with a negative number) |
| comparison | `== != < <= > >= in`, `not in`; they cannot be chained |
| logic | `not`, `and`, `or`, and parentheses |

There are no calls, no arithmetic and no names that begin with an underscore. A condition is read by the parser below
and never becomes Python code: what it reaches is what JSON can say. It has at most 500 characters, and each of its
parts looks at the payload at most once, so the time it takes is bounded by the payload.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["MAX_LENGTH", "Condition", "ConditionError"]

MAX_LENGTH = 500
MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?(?![\w.]))
  | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<word>[^\W\d]\w*)
  | (?P<sign>==|!=|<=|>=|[<>.,()\[\]])
  | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "/": "/", '"': '"', "'": "'"}
_CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_WORDS = frozenset({"and", "or", "not", "in"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "not in"})
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})

Evaluate = Callable[[Any], Any]


class ConditionError(ValueError):
    """A condition that cannot be read, or does not fit the payload; the text says what and where."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message if at is None else f"column {at + 1}: {message}")
        self.at = at
        """Which character of the condition it is about, from 0; None where it is about no one."""


class Condition:
    """A condition that was read. `Condition(text)` raises `ConditionError` for what is none."""

    __slots__ = ("_evaluate", "text")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise ConditionError(f"a condition has at most {MAX_LENGTH} characters, this one has {len(text)}")
        self.text = text
        try:
            self._evaluate = _Parser(text).parse()
        except RecursionError:  # whoever calls is deep in its stack
            raise ConditionError("the condition is nested too deeply") from None

    def holds(self, payload: Any) -> bool:
        """Whether it is true of a payload of plain JSON: dicts, lists, texts, numbers, booleans and None.

        Empty values, zero and null are false. Raises `ConditionError`, and nothing else, where the payload lacks what
        it asks for, or has something that cannot be compared.
        """
        try:
            return bool(self._evaluate(payload))
        except RecursionError:
            raise ConditionError("the payload is nested too deeply to be compared") from None

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def parse(self) -> Evaluate:
        evaluate = self._either()
        token = self._tokens[self._next]
        if token.kind != "end":
            raise _unexpected(token)
        return evaluate

    def _either(self) -> Evaluate:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConditionError(f"more than {MAX_DEPTH} parentheses, brackets and `not` inside each other")
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else lambda payload: any(part(payload) for part in parts)

    def _all(self) -> Evaluate:
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda payload: all(part(payload) for part in parts)

    def _negation(self) -> Evaluate:
        count = 0
        while self._take("not"):
            count += 1
        part = self._comparison()
        if not count:
            return part
        return (lambda payload: not part(payload)) if count % 2 else (lambda payload: bool(part(payload)))

    def _comparison(self) -> Evaluate:
        left = self._value()
        sign = self._comparison_sign()
        if sign is None:
            return left
        right = self._value()
        return lambda payload: _compare(sign, left(payload), right(payload))

    def _comparison_sign(self) -> str | None:
        token = self._tokens[self._next]
        if token.text == "not" and token.kind == "word" and self._tokens[self._next + 1].text == "in":
            self._next += 2
            return "not in"
        if token.kind in ("sign", "word") and token.text in _COMPARISONS:
            self._next += 1
            return token.text
        return None

    def _value(self) -> Evaluate:
        value = self._simple()
        while True:
            if self._take("."):
                value = _key_of(value, self._name().text)
            elif self._take("["):
                index = self._either()
                self._expect("]")
                value = _item_of(value, index)
            else:
                return value

    def _simple(self) -> Evaluate:
        if self._take("("):
            inner = self._either()
            self._expect(")")
            return inner
        if self._take("["):
            return self._list()
        token = self._tokens[self._next]
        if token.kind == "word":
            if token.text in _CONSTANTS:
                self._next += 1
                return _constant(_CONSTANTS[token.text])
            return _name(self._name().text)
        if token.kind == "number":
            self._next += 1
            return _constant(int(token.text) if token.text.lstrip("-").isdecimal() else float(token.text))
        if token.kind == "text":
            self._next += 1
            return _constant(_ESCAPE.sub(_unescape, token.text[1:-1]))
        raise _unexpected(token)

    def _list(self) -> Evaluate:
        items: list[Evaluate] = []
        while not self._take("]"):
            items.append(self._either())
            if not self._take(","):
                self._expect("]")
                break
        return lambda payload: [item(payload) for item in items]

    def _name(self) -> _Token:
        token = self._tokens[self._next]
        if token.kind != "word" or token.text in _WORDS:
            raise _unexpected(token)
        if token.text.startswith("_"):
            raise ConditionError("names that begin with an underscore cannot be reached", token.at)
        self._next += 1
        return token

    def _take(self, text: str) -> bool:
        token = self._tokens[self._next]
        found = token.kind in ("sign", "word") and token.text == text
        self._next += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ConditionError(f"{text!r} is missing", self._tokens[self._next].at)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            rest = text[position:].lstrip()
            at = len(text) - len(rest)
            raise ConditionError(f"{rest[:1]!r} is not understood (there is no arithmetic)", at)
        tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        position = match.end()
    return tokens


def _unexpected(token: _Token) -> ConditionError:
    if token.kind == "end":
        return ConditionError("the condition is not complete" if token.at else "the condition is empty")
    return ConditionError(f"{token.text[:30]!r} is not expected here (there are no calls)", token.at)


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    if code not in _ESCAPED:
        raise ConditionError(f"the escape \\{code} is not known")
    return _ESCAPED[code]


def _constant(value: Any) -> Evaluate:
    return lambda payload: value


def _name(name: str) -> Evaluate:
    def find(payload: Any) -> Any:
        if type(payload) is dict and name in payload:
            return _plain(payload[name])
        if name == "payload":
            return _plain(payload)
        raise ConditionError(f"the payload has no {name!r}")

    return find


def _key_of(owner: Evaluate, key: str) -> Evaluate:
    def find(payload: Any) -> Any:
        value = owner(payload)
        if type(value) is not dict or key not in value:
            raise ConditionError(f"there is no {key!r} in {_kind(value)}")
        return _plain(value[key])

    return find


def _item_of(owner: Evaluate, index: Evaluate) -> Evaluate:
    def find(payload: Any) -> Any:
        value, key = owner(payload), index(payload)
        if type(value) is dict and type(key) is str and key in value:
            return _plain(value[key])
        if type(value) in (list, str) and type(key) is int and -len(value) <= key < len(value):
            return _plain(value[key])
        shown = repr(key) if type(key) in (str, int) else _kind(key)
        raise ConditionError(f"there is no item {shown[:50]} in {_kind(value)}")

    return find


def _compare(sign: str, left: Any, right: Any) -> bool:
    if sign == "==":
        return bool(left == right)
    if sign == "!=":
        return bool(left != right)
    if sign in ("in", "not in"):
        if type(right) is str and type(left) is str:
            return (left in right) == (sign == "in")
        if type(right) is list or (type(right) is dict and type(left) is str):
            return (left in right) == (sign == "in")
        raise ConditionError(f"{_kind(left)} cannot be looked for in {_kind(right)}")
    numbers = type(left) in (int, float) and type(right) in (int, float)
    if not numbers and not (type(left) is str and type(right) is str):
        raise ConditionError(f"{_kind(left)} and {_kind(right)} cannot be ordered")
    if sign == "<":
        return bool(left < right)
    if sign == "<=":
        return bool(left <= right)
    return bool(left > right if sign == ">" else left >= right)


def _plain(value: Any) -> Any:
    if type(value) not in _PLAIN:
        raise ConditionError(f"the payload has {_kind(value)} in it, which is no JSON")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    if type(value) in (int, float):
        return "a number"
    return names.get(type(value), "something else")
