"""Streams of the parts of an invocation: what a model says, and a tool puts out, while a planner runs in a node.

Parts work side by side, so that a piece is known by its stream and number alone. Nothing that comes later depends on
one: a replay need not have them all, and a run that is taken up again does not send twice what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penguiflow.channels import whole
from penguiflow.llm.text import mended
from penguiflow.reruns import SentPart
from penguiflow.types import StreamChunk
from penguiflow.validation import is_message

if TYPE_CHECKING:
    from penguiflow.context import Context

__all__ = ["PartChunk", "PartStreams"]


class PartChunk(StreamChunk):
    """A piece of such a stream. In the log it is a `stream.chunk` that says of which call it is; no message."""


@dataclass(slots=True)
class _Stream:
    number: int = 0
    """Of the next piece."""
    chars: int = 0
    """Of its pieces until now."""
    skip: int = 0
    """Characters to come that were sent before the run was taken up again."""
    over: bool = False
    waiting: str = ""
    """What found no room yet."""
    closing: bool = False
    """The last piece waits, too."""
    meta: dict[str, Any] = field(default_factory=dict)
    of: str = ""


class PartStreams:
    """Sends pieces, and writes them into the log.

    A piece for which there is no room (a reader who is slow, a log that is behind) waits, and goes with the next one.

    Args:
        deliver: Whether they go to whoever waits for the trace's results; else they are in the log alone.
    """

    def __init__(self, context: Context, *, deliver: bool) -> None:
        self._context = context
        self._deliver = deliver
        self._streams: dict[str, _Stream] = {}
        self._waiting: dict[str, _Stream] = {}

    def before(self) -> Mapping[str, SentPart]:
        """What was sent of each stream before the run was taken up again."""
        again = self._context._again
        return {} if again is None else again.parts

    def put(self, stream: str, text: str, *, meta: Mapping[str, Any], of: str = "", done: bool = False) -> None:
        """Send a piece; `of` is the span of the call that it comes from. Nothing follows one that is `done`."""
        known = self._streams.get(stream)
        if known is None:
            sent = self.before().get(stream)
            known = self._streams[stream] = _Stream()
            if sent is not None:
                known.number, known.chars, known.skip, known.over = sent.pieces, sent.chars, sent.chars, sent.over
        if known.over or known.closing:
            return
        if known.skip:
            skipped = min(known.skip, len(text))
            known.skip -= skipped
            text = text[skipped:]
        if not text and not done:
            return
        known.waiting += mended(text)
        known.closing = done
        known.meta, known.of = dict(meta), of
        self._waiting[stream] = known
        self._flush()

    async def settle(self) -> None:
        """Wait until all pieces are sent."""
        while self._waiting:
            if not self._flush():
                await self._room()

    def _flush(self) -> bool:
        """Send what waits; False when there is no room."""
        trace = self._context._trace
        if trace is None or trace.cancelled or trace.ended:
            self._waiting.clear()
            return True
        for stream in list(self._waiting):
            recorder = self._context._flow()._table.recorder
            sink = trace.sink if self._deliver else None
            if (recorder is not None and recorder.congested) or (sink is not None and sink.full):
                return False
            self._send(stream, self._waiting.pop(stream))
        return True

    def _send(self, stream: str, piece: _Stream) -> None:
        context = self._context
        trace = context._trace
        assert trace is not None
        number, text, done = piece.number, piece.waiting, piece.closing
        piece.number += 1
        piece.chars += len(text)
        piece.waiting, piece.over = "", done
        chunk = PartChunk(stream_id=stream, seq=number, text=text, done=done, meta=piece.meta)
        if trace.log is not None:
            about = {"stream_id": stream, "chunk_seq": number, "text": text, "done": done, "meta": piece.meta}
            about["of"], about["chars"] = piece.of, piece.chars
            trace.log.event("stream.chunk", stream, context._span or trace.log.root, about)
        if self._deliver and trace.sink is not None:
            envelope = context._envelope or context._item[1]
            trace.sink.put(whole(envelope, chunk) if is_message(envelope) else chunk)

    async def _room(self) -> None:
        trace = self._context._trace
        assert trace is not None
        recorder = self._context._flow()._table.recorder
        if recorder is not None and recorder.congested:
            await recorder.wait_ready()
        elif trace.sink is not None and trace.sink.full:
            await trace.sink.wait_room()
