"""Whether a stored piece can hold a text, told from its bytes: most hold none of what is looked for.

What is stored is nearly what readers get: names and data stand in it as JSON. What streams and hops made is put
together when it is read, from words that are always the same (which no piece can be passed over for) and from numbers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from pydantic_core import from_json

from penguiflow.state.coalesce import marks
from penguiflow.state.spill import is_kept_elsewhere

__all__ = ["may_hold"]

_HOPS = b',["hops",'
_OLD_HOP = b'"hop.'
_OBJECT = b"{"
_SHAPES = b'",[['
_WITH_SHAPES = b"]]]]"
_NUMBERED = b'"chunk_seq":'
_SIGNS = re.compile(rb'["{}\[\]:,]+')
_DIGITS = re.compile(rb"[0-9]+")
_EVERYWHERE = rb'"kind":"","name":"","data":{}'
_STREAMS = (
    rb'"stream.chunk""message.enqueued""message.dequeued"{"stream_id":"","chunk_seq":0,"text":"","done":false,"meta":{}}'
    rb'{"message_id":"","source":"","target":"","stream_id":"","chunk_seq":0}'
)
_HOP = (
    rb'"message.dequeued""message.enqueued""node.start""node.end""attempt.start""attempt.end"{"message_id":""}'
    rb'{"message_id":"","node_id":""}{"attempt":0}{"status":"ok","latency_ms":0.0}{"latency_ms":0e-0}'
    rb'{"latency_ms":0.0e-0}{"payload":{,"message_id":"","source":"","target":""}'
)
"""Of each event that is put together, what is not stored; every number is 0."""
_SHORT = 2
"""Digits that may be those of an exponent."""


def may_hold(data: bytes, word: bytes, *, elsewhere: bool = True) -> bool:
    """False when no event of a piece holds a word, in small or large letters, in its kind, name or data.

    `data` is the piece. Not `elsewhere`: no payload that is kept beside the piece holds the word.
    """
    missing = [part for part, find in _parts(word) if find(data) is None]
    if not missing:
        return True
    if data.startswith(_OBJECT) or (elsewhere and is_kept_elsewhere(data)):
        return True
    end = data.find(b"\n")
    end = len(data) if end < 0 else end
    if data.endswith(_WITH_SHAPES, 0, end):
        return all(_in_streams(data, end, part) for part in missing)
    if data.find(_HOPS, 0, end) >= 0:
        return all(_in_hops(data, part) for part in missing)
    return data.find(_OLD_HOP, 0, end) >= 0


@functools.lru_cache(256)
def _parts(word: bytes) -> tuple[tuple[bytes, Callable[[bytes], object | None]], ...]:
    """What stands between the signs of JSON, which may be stored elsewhere than what is around them, with its finder.

    What stands in every event is left out.
    """
    # A `regex` finds letters of either size as quickly as `in` finds one, and lets other threads run meanwhile.
    import regex

    parts = [part for part in _SIGNS.split(word.lower()) if part and part not in _EVERYWHERE]
    return tuple((part, regex.compile(regex.escape(part), regex.IGNORECASE).search) for part in parts)


def _in_streams(data: bytes, end: int, word: bytes) -> bool:
    if not word.isdigit():
        return _DIGITS.sub(b"0", word) in _STREAMS
    try:
        return _NUMBERED in data or word in b",".join(_numbers(data, end))
    except (ValueError, TypeError, IndexError):  # it is read, and found to be damaged
        return True


def _numbers(data: bytes, end: int) -> list[bytes]:
    """What chunks and their messages are numbered with."""
    start = data.rindex(_SHAPES, 0, end)
    order = data[data.rindex(b'"', 0, start) + 1 : start].decode()
    numbers: set[int] = set()
    for mark, shape in zip(marks(), from_json(data[start + 2 : end - 2]), strict=False):
        numbers.update(range(shape[5], shape[5] + order.count(mark)))
    return [b"%d" % number for number in numbers]


def _in_hops(data: bytes, word: bytes) -> bool:
    if not word.isdigit():
        return _DIGITS.sub(b"0", word) in _HOP
    # Milliseconds have the digits of nanoseconds, behind zeros where they are few.
    return len(word) <= _SHORT or word.lstrip(b"0") in data
