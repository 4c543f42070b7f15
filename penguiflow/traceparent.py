"""Where a trace stands in a wider one: the `traceparent` header of W3C Trace Context.

It comes in with a message's `meta`, goes out with remote calls, and needs nothing of OpenTelemetry: the ids are made
from those of the event log, the same wherever they are needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

__all__ = ["KEY", "Parent", "outgoing", "parent_of", "remote_key", "span_number", "trace_number"]

KEY = "traceparent"
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_HEX = re.compile(r"[0-9a-f]{32}")


class Parent(NamedTuple):
    """A span in another process."""

    trace: int
    span: int
    flags: int


def parent_of(meta: Any) -> Parent | None:
    """Who asked, as the metadata of a message tells; None where it does not, or makes no sense."""
    value = meta.get(KEY) if isinstance(meta, Mapping) else None
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    # Version ff is not allowed; later ones than 00 may have more behind.
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    parent = Parent(int(match[2], 16), int(match[3], 16), int(match[4], 16))
    return parent if parent.trace and parent.span else None


def trace_number(trace_id: str) -> int:
    """128 bits for a trace: the id itself where it is 32 hexadecimal digits, as those that the runtime makes."""
    number = int(trace_id, 16) if _HEX.fullmatch(trace_id) else 0
    return number or _digest(trace_id, 16)


def span_number(trace_id: str, key: str) -> int:
    """64 bits for a span: `key` is its id in the log, or `remote_key`."""
    return _digest(f"{trace_id}|{key}", 8)


def remote_key(attempt: str) -> str:
    """The key of the remote call that an attempt makes; known before the call has a span of its own."""
    return f"{attempt}/remote"


def outgoing(trace_id: str, key: str, meta: Any) -> str:
    """What a call tells whom it asks: the trace (that of whoever asked us, if somebody did) and the calling span."""
    parent = parent_of(meta)
    trace = trace_number(trace_id) if parent is None else parent.trace
    return f"00-{trace:032x}-{span_number(trace_id, key):016x}-01"


def _digest(text: str, size: int) -> int:
    # Zero is no id.
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest(), "big") or 1
