"""What an invocation had done before it was interrupted, and does not do again when it is run again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Again", "SentPart"]


class SentPart(NamedTuple):
    """What was sent of a stream of a part: a model's answer, or what a tool put out."""

    pieces: int
    chars: int
    over: bool
    """Whether its last piece was sent."""
    void: bool
    """Whether that took back what came before it."""


class Again:
    """The messages and the pieces of streams that one invocation has sent already."""

    __slots__ = ("chunks", "parts", "sent")

    def __init__(
        self,
        sent: Iterable[str],
        chunks: Iterable[tuple[str, int]],
        parts: Mapping[str, SentPart] | None = None,
    ) -> None:
        self.sent = frozenset(sent)
        """Message ids."""
        self.chunks = deque(chunks)
        """Stream and number, in the order in which they were sent."""
        self.parts: Mapping[str, SentPart] = parts or {}
        """What was sent of the streams of its parts."""

    def was_sent(self, message_id: str) -> bool:
        """Whether this message is on its way, or has arrived."""
        return message_id in self.sent

    def next_chunk(self, stream_id: str) -> int | None:
        """The number that the next piece of this stream had the first time; None for one that was not sent."""
        if not self.chunks:
            return None
        if self.chunks[0][0] != stream_id:
            # It does something else this time: what it sends from here on is new.
            self.chunks.clear()
            return None
        return self.chunks.popleft()[1]
