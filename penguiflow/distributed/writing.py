"""One trace, written by the process that calls and by workers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penguiflow.recording.cassette import Cassette
from penguiflow.recording.recorder import Recorder
from penguiflow.recording.tape import ResumeTape
from penguiflow.state.traces import TraceStore
from penguiflow.types import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penguiflow.calls import Tape
    from penguiflow.channels import Floe
    from penguiflow.distributed.header import Fault, Header
    from penguiflow.recording.shared_log import SharedLog

__all__ = ["Writing"]


class Writing:
    """What a process writes of traces that others write, too; nothing where the store keeps no events."""

    def __init__(self, store: Any, name: str, worker_id: str, recorder: object = None) -> None:
        """`recorder` is one that writes to the store; without it, one is made."""
        self._store = store
        self._worker_id = worker_id
        self._recorder: Recorder | None = None
        if isinstance(recorder, Recorder):
            self._recorder = recorder
        elif isinstance(store, TraceStore):
            self._recorder = Recorder(store=store, name=name)

    async def begin(self, header: Header) -> Header:
        """Begin the log of a trace; the header tells workers where it is."""
        if self._recorder is None:
            return header
        log = self._recorder.begin_shared(header.trace_id, worker=self._worker_id, epoch=header.epoch)
        return replace(header, root=log.root)

    def sent(self, header: Header, floes: Sequence[Floe], ids: Sequence[str], message: Any) -> None:
        """Write that a message was sent in, by these edges and under these ids."""
        log = self.join(header)
        if log is None:
            return
        envelope = message if isinstance(message, Message) else None
        content = message if envelope is None else envelope.payload
        for floe, message_id in zip(floes, ids, strict=True):
            log.put(floe.name, log.root, message_id, content, envelope)

    def join(self, header: Header) -> SharedLog | None:
        """The log of a trace that was begun elsewhere."""
        if self._recorder is None:
            return None
        return self._recorder.join(header.trace_id, worker=self._worker_id, root=header.root, epoch=header.epoch)

    async def take_over(self, header: Header, message_id: str, node: str, *, done: bool) -> None:
        """End what another worker left open that had the message before; `done`: its work was committed."""
        log = self.join(header)
        if log is not None and self._recorder is not None:
            await self._recorder.end_left_open(log, message_id, node, "ok" if done else "interrupted")

    async def tape(self, header: Header, message_id: str) -> Tape | None:
        """Answers to what a node asked before while it worked on this message; None where it had no answer."""
        if self._recorder is None:
            return None
        await self.flush()
        cassette = Cassette.of(await self._store.load_events(header.trace_id))
        known = {
            (call.place, call.kind, call.name, call.ordinal): call
            for call in cassette.calls
            if call.place.startswith(f"{message_id}/")
        }
        return ResumeTape(Cassette(trace_id=header.trace_id, calls=list(known.values()))) if known else None

    async def close(self, header: Header, status: str, fault: Fault) -> None:
        """Write the end of a trace, unless somebody has done so; committed on return, so far as that is possible."""
        log = self.join(header)
        if log is None:
            return
        await self.flush()
        summary = await self._store.get_trace(header.trace_id)
        # Whoever gets a message again that was the last one sees to it that the end was written.
        if summary is None or (summary.epoch == header.epoch and summary.status == "running"):
            log.close(status, None if fault.error is None else {"error": fault.error.to_payload()})
            await self.flush()

    async def flush(self) -> None:
        """Return once all that was written is committed. Raises `StoreError` when the store cannot."""
        if self._recorder is not None:
            await self._recorder.flush()
