"""Writes what a flow does as events, to a store and to whoever else listens."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter_ns, time
from typing import TYPE_CHECKING, Any, Literal

from penguiflow.recording.environment import environment
from penguiflow.recording.events import EventRecord, EventSink
from penguiflow.recording.hops import HopSink, Track
from penguiflow.recording.masking import Masker
from penguiflow.recording.masking_key import key_beside
from penguiflow.recording.shared_log import SPAN_KINDS, Joined, SharedLog, open_spans
from penguiflow.recording.trace_log import NO_META, Log
from penguiflow.types import Headers

if TYPE_CHECKING:
    import asyncio

    from penguiflow.observer import TraceLog
    from penguiflow.state.traces import TraceStore

__all__ = ["Recorder"]

logger = logging.getLogger("penguiflow.recording")

MAX_ENDED = 4096
"""Ended traces whose last position is remembered, in case they are opened again."""
MAX_ANNOTATED = 4096
"""Traces that are annotated and not yet open."""
MAX_HEADERS = 256
"""Headers that are encoded once."""
_NS = 1_000_000_000
_PLAIN_HEADERS = frozenset({(str, str, int), (str, type(None), int)})


class Recorder:
    """Opens a log for each trace; implements `penguiflow.observer.TraceRecorder`.

    Payloads are encoded when the event happens, so that what the flow does to them afterwards does not change the log.
    A sink that raises is logged once (`penguiflow.recording`), counted in `failures`, and does not reach the flow.

    Args:
        sinks: Take every event, in order, on the loop's thread.
        store: Takes every event too; is asked when the flow must wait, and for `flush`.
        name: Name of the flow: the name of `trace.start` and `trace.end`.
        data: Stands in every `trace.start`: `target`, `version` …
        worker: Names the process, where several record into one store; stands in `trace.start`.
        masker: Hides secrets; by default those that `MaskingRules` knows, with the key that is kept beside the store.
    """

    def __init__(
        self,
        *sinks: EventSink,
        store: TraceStore | None = None,
        name: str = "flow",
        data: Mapping[str, Any] | None = None,
        worker: str | None = None,
        masker: Masker | None = None,
    ) -> None:
        self.name = name
        self.masker = masker or Masker(key_beside(store))
        self.propagates = any(getattr(sink, "propagates", False) for sink in sinks)
        """Whether remote calls tell the other side where they come from: a sink makes something of it."""
        self.failures = 0
        """Events that a sink did not take."""
        self._store = store
        self._data: dict[str, Any] = {"flow": name, "environment": environment(), **(data or {})}
        if worker is not None:
            self._data["worker"] = worker
        self.start = self.masker.encode(self._data)
        """The data of a `trace.start` of which there is nothing else to tell."""
        self._writes = [sink.write for sink in sinks]
        if store is not None:
            self._writes.insert(0, store.sink.write)
        self._choose()
        self.unlooked = 0
        """Hops since it was looked whether the store can follow."""
        self._failed: set[int] = set()
        self._headers: dict[tuple[str, str | None, int], bytes] = {}
        self._headers_without: Sequence[bytes] = ()
        """The secrets that are not in there."""
        self._open: dict[str, Track] = {}
        self._ended: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        """Their next event, next epoch and clock."""
        self._annotations: dict[str, dict[str, Any]] = {}
        self._joined: dict[str, Joined] = {}
        """By worker."""

    @property
    def store(self) -> TraceStore | None:
        """Where its events go, besides to those who listen."""
        return self._store

    def listen(self, sink: EventSink) -> None:
        """Give the events of the traces that begin from now on to one more sink, until `unlisten`."""
        self._writes.append(sink.write)
        self._choose()

    def unlisten(self, sink: EventSink) -> None:
        """Give a sink that `listen` was given nothing any more."""
        self._writes = [write for write in self._writes if write != sink.write]
        self._choose()

    def _choose(self) -> None:
        alone = len(self._writes) == 1
        self.send: Callable[[EventRecord], None] = self._writes[0] if alone else self._send_all
        # Whoever looks on while it happens gets events; a store that is alone gets whole hops.
        taker = self._store.sink if self._store is not None and alone else None
        self.hops: HopSink | None = taker if isinstance(taker, HopSink) else None

    @property
    def congested(self) -> bool:
        """True while the store holds as much as it may."""
        return self._store is not None and self._store.congested

    async def wait_ready(self) -> None:
        """Return once the store has room again."""
        if self._store is not None:
            await self._store.wait_ready()

    @property
    def hold(self) -> Callable[[asyncio.Future[None]], bool] | None:
        """As `durable`, with a future of the caller's own; None where the store knows no such thing."""
        return getattr(self._store, "hold", None)

    def durable(self) -> Awaitable[None] | None:
        """What to await before a result is given out, so that the store keeps its events; None for nothing."""
        return None if self._store is None else self._store.durable()

    async def flush(self) -> None:
        """Return once the store has committed all of this. Raises `StoreError` if it cannot."""
        if self._store is not None:
            await self._store.flush()

    def may_hop(self) -> bool:
        """Whether the store follows; looked at now and then."""
        self.unlooked = 0
        return not self.congested

    def headers_of(self, headers: Headers) -> bytes:
        """What is told of an envelope with these headers, and without anything else."""
        if self._headers_without is not self.masker.secrets:
            self._headers_without = self.masker.secrets
            self._headers.clear()
        about = (headers.tenant, headers.topic, headers.priority)
        if type(headers) is not Headers or tuple(map(type, about)) not in _PLAIN_HEADERS:
            return self._encode_headers(headers)
        known = self._headers.get(about)
        if known is None:
            if len(self._headers) >= MAX_HEADERS:
                self._headers.clear()
            known = self._headers[about] = self._encode_headers(headers)
        return known

    def _encode_headers(self, headers: Headers) -> bytes:
        return b',"headers":%b,%b' % (self.masker.encode(headers.model_dump()), NO_META)

    def annotate(self, trace_id: str, data: Mapping[str, Any]) -> None:
        """Add to the `trace.start` of a trace that will be opened (its session, who asked for it …)."""
        if len(self._annotations) >= MAX_ANNOTATED and trace_id not in self._annotations:
            del self._annotations[next(iter(self._annotations))]
        self._annotations.setdefault(trace_id, {}).update(data)

    async def prepare(self, trace_id: str) -> None:
        """Go on where the store left off with a trace that this process has not seen: for ids chosen by a caller.

        Without it the store keeps its own log in order, but other sinks see the trace begin at 0 again.
        """
        if self._store is None or trace_id in self._open or trace_id in self._ended:
            return
        summary = await self._store.get_trace(trace_id)
        if summary is not None and trace_id not in self._open:
            age_ns = max(0, int((time() - summary.started) * _NS))
            self._remember(trace_id, (summary.events, summary.epoch + 1, perf_counter_ns() - age_ns))

    def open(self, trace_id: str, data: Mapping[str, Any] | None = None) -> TraceLog:
        """Begin the log of a trace, or go on with it in its next epoch: writes `trace.start`."""
        track = self._open.get(trace_id)
        if track is None:
            known = self._ended.pop(trace_id, None) if self._ended else None
            track = Track(trace_id, 0, 0, perf_counter_ns()) if known is None else Track(trace_id, *known)
            self._open[trace_id] = track
        else:
            track.epoch += 1
        track.logs += 1
        self.masker.look_again()
        about = self._data
        noted = self._annotations.pop(trace_id, None) if self._annotations else None
        if noted or data:
            about = {**about, **(noted or {}), **(data or {})}
        return Log(self, trace_id, track, about, self.start if about is self._data else None)

    def begin_shared(
        self, trace_id: str, *, worker: str, epoch: int = 0, data: Mapping[str, Any] | None = None
    ) -> SharedLog:
        """Begin a trace that other processes `join`: writes `trace.start`, which `flush` commits before they do."""
        log = self.join(trace_id, worker=worker, epoch=epoch)
        noted = self._annotations.pop(trace_id, None) if self._annotations else None
        log.begin_trace({**self._data, **(noted or {}), **(data or {})})
        return log

    def join(self, trace_id: str, *, worker: str, root: str = "", epoch: int = 0) -> SharedLog:
        """Write to a trace that `begin_shared` began, here or in another process; for each delivery a log of its own.

        `worker` names this writer, by an id that no other one has at the time. `root` is the trace's own span, as
        whoever began it knows it.
        """
        joined = self._joined.get(worker)
        if joined is None:
            joined = self._joined[worker] = Joined(worker)
        self.masker.look_again()
        return SharedLog(self, joined.track(trace_id, epoch), joined, root, epoch)

    async def end_left_open(
        self, log: SharedLog, message_id: str, node: str, status: Literal["interrupted", "ok"] = "interrupted"
    ) -> int:
        """End spans of a node's work on a message, and those within, which a worker that is gone left open.

        For whoever gets the message next; returns how many there were. Waits for what was written here before.
        """
        if self._store is None:
            return 0
        await self.flush()
        left = open_spans(await self._store.load_events(log.trace_id, kinds=SPAN_KINDS), message_id, node)
        for span in reversed(left):
            log.end_of_other(span.kind, span.name, span.span_id, span.parent_id or log.root, status)
        return len(left)

    def closed(self, trace_id: str, track: Track) -> None:
        """The log of a trace was closed."""
        track.logs -= 1
        if track.logs:
            return
        del self._open[trace_id]
        self._remember(trace_id, (track.next_seq, track.epoch + 1, track.origin_ns))

    def _remember(self, trace_id: str, where: tuple[int, int, int]) -> None:
        if len(self._ended) >= MAX_ENDED:
            self._ended.popitem(last=False)
        self._ended[trace_id] = where

    def _send_all(self, record: EventRecord) -> None:
        for index, write in enumerate(self._writes):
            try:
                write(record)
            except Exception:  # a listener's failure is none of the flow's
                self.sink_failed(index)

    def sink_failed(self, index: int = 0) -> None:
        """A sink has raised."""
        self.failures += 1
        if index not in self._failed:
            self._failed.add(index)
            logger.exception("a sink of recorder %r does not take events; the flow goes on without it", self.name)
