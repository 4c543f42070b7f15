"""Identifiers: from buffered randomness at a seventh of the price of `uuid4().hex`, and of messages."""

from __future__ import annotations

import os
from hashlib import blake2b

_ID_CHARS = 32
_ALIKE = 3
"""How many digits the ids of one refill begin with in common: a store's index of ids is then written in one place, in
place of one page of it for each trace."""
_IDS_PER_REFILL = 256
_MAX_REMEMBERED = 4096

_pool: list[str] = []
_sends: dict[tuple[str, str, str, int], str] = {}


def new_id() -> str:
    """32 hex digits from the operating system's random source; those that follow each other begin alike."""
    try:
        return _pool.pop()
    except IndexError:
        width = _ID_CHARS - _ALIKE
        digits = os.urandom((width * _IDS_PER_REFILL + _ALIKE + 1) // 2).hex()
        alike = digits[-_ALIKE:]
        _pool.extend([alike + digits[start : start + width] for start in range(0, width * _IDS_PER_REFILL, width)])
        return _pool.pop()


def send_id(sender: str, origin: str, edge: str, ordinal: int) -> str:
    """16 hex digits: the id of the `ordinal`th message that `sender` sends while it works on message `origin`.

    The same invocation of the same message gives the same ids again: that is what resume and replay go by. Traces of
    one flow that take the same way have the same ids, so that most were made before.
    """
    about = (sender, origin, edge, ordinal)
    known = _sends.get(about)
    if known is not None:
        return known
    if len(_sends) >= _MAX_REMEMBERED:
        _sends.clear()
    key = f"{sender}|{origin}|{edge}|{ordinal}".encode("utf-8", "surrogatepass")
    sent = _sends[about] = blake2b(key, digest_size=8).hexdigest()
    return sent


# A forked child must not hand out its parent's ids.
os.register_at_fork(after_in_child=_pool.clear)
