"""Who is connected, what each of them follows, and what they have missed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pydantic_core

from penguiflow.recording.events import EventRecord
from penguiflow.recording.masking import Masker
from penguiflow.state.errors import StoreError
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.host.outbox import CHUNK, EVENT, FRAME, LINE, Outbox, Overflow
from playground.host.tail import Sent, Tail
from playground.protocol import HOST_TRACE, BaseFrame, LogLine, Result, encode

MAX_LINES = 500
"""Log lines kept for clients that come later."""
MAX_RESULT_BYTES = 4 * 1024 * 1024
"""Results kept for clients that come back after the end of a run."""
PAGE_EVENTS = 512
RETRY_S = 0.02
MAX_RETRIES = 100

Reader = Callable[[str, int, int], Awaitable[list[bytes]]]
"""`(trace_id, after, limit)` gives committed events as JSON."""
Finder = Callable[[TraceQuery], Awaitable[list[TraceSummary]]]
"""Gives the runs of the store that match. Raises `StoreError`."""
Counter = Callable[[dict[str, Any]], Awaitable[list[dict[str, Any]]]]
"""Gives the statistics of the runs that match, as JSON. Raises `StoreError`, or `ValueError` for a wrong query."""


class Transport(Protocol):
    """The part of a connection that a client needs."""

    async def send(self, data: bytes) -> None:
        """Send one text frame; waits while the peer does not read."""
        ...

    def abort(self) -> None:
        """Drop the connection at once."""
        ...


class Client:
    """One connection: its queue, and the traces it follows."""

    def __init__(self, transport: Transport) -> None:
        self.name: str | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        """What is being done for it."""
        self.gone = False
        self.controls = True
        """False when it may only look on."""
        self.decides = False
        """Whether it decides upon stopped runs."""
        self.answers = False
        """Whether it answers questions."""
        self._transport = transport
        self._outbox = Outbox()
        self._follows_all = False
        self._follows: set[str] = {HOST_TRACE}
        self._catching: dict[str, list[bytes]] = {}
        """Traces whose missed events are being read, with the results that have to wait for them."""

    async def send_all(self) -> None:
        """Send what is put, until cancelled or disconnected."""
        while True:
            await self._transport.send(await self._outbox.get())

    async def drained(self) -> None:
        """Return once everything is sent."""
        await self._outbox.wait_empty()

    async def wait_room(self) -> None:
        """Return once there is room for something large."""
        await self._outbox.wait_room()

    def reply(self, request: BaseFrame, frame: BaseFrame) -> None:
        """Answer a request, if it wanted an answer."""
        if request.id is not None:
            frame.reply_to = request.id
        self.put(FRAME, encode(frame))

    def put(self, kind: int, data: bytes) -> None:
        """Queue something; a client that is far too slow is dropped, and may come back for the rest."""
        if self.gone:
            return
        try:
            self._outbox.put(kind, data)
        except Overflow:
            self.gone = True
            self._transport.abort()

    def follow(self, traces: list[str] | None) -> None:
        """Follow these traces, or all."""
        if traces is None:
            self._follows_all = True
        else:
            self._follows.update(traces)

    def follows(self, trace_id: str) -> bool:
        """Whether events of the trace go to this client."""
        return self._follows_all or trace_id in self._follows

    def put_event(self, event: Sent) -> None:
        """Queue an event, unless it will be found while catching up."""
        if self.follows(event.trace_id) and event.trace_id not in self._catching:
            self.put(CHUNK if event.is_chunk else EVENT, event.data)

    def put_result(self, trace_id: str, data: bytes) -> None:
        """Queue the end of a run, after all of its events."""
        if self.follows(trace_id):
            waiting = self._catching.get(trace_id)
            if waiting is None:
                self.put(FRAME, data)
            else:
                waiting.append(data)
            self._follows.discard(trace_id)

    def hold(self, trace_id: str, result: bytes | None) -> bool:
        """From now on the trace's events wait for `catch_up` to find the ones before; False when they do already.

        `result` is the end of a run that is over.
        """
        if trace_id in self._catching:
            return False
        self._catching[trace_id] = [] if result is None else [result]
        return True

    async def catch_up(self, trace_id: str, after: int, tail: Tail, read: Reader | None) -> None:
        """Send what the client missed of a trace that is on hold: from the store, then from memory, then live again."""
        retries = 0
        try:
            while not self.gone:
                recent = tail.after(trace_id, after)
                if read is None or trace_id == HOST_TRACE or (recent and recent[0].seq == after + 1):
                    break
                try:
                    page = await read(trace_id, after, PAGE_EVENTS)
                except StoreError:  # what memory has is better than nothing
                    break
                if not page and (not recent or retries == MAX_RETRIES):
                    break
                if not page:  # what lies between is on its way to the store
                    retries += 1
                    await asyncio.sleep(RETRY_S)
                    continue
                for data in page:
                    self.put(EVENT, data)
                after += len(page)
                await self._outbox.wait_room()
            for event in tail.after(trace_id, after):
                self.put(CHUNK if event.is_chunk else EVENT, event.data)
        finally:
            for data in self._catching.pop(trace_id):
                self.put(FRAME, data)


class Hub:
    """All clients. Lives on the wire's loop."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.tail = Tail()
        self.read: Reader | None = None
        self.find: Finder | None = None
        self.count: Counter | None = None
        self.masker: Masker | None = None
        """Hides secrets in what is no event; events come without."""
        self.events = 0
        self.lines: deque[bytes] = deque(maxlen=MAX_LINES)
        self._host_seq = 0
        self._results: dict[str, bytes] = {}
        self._result_bytes = 0
        self._started = time.time()

    def remove(self, client: Client) -> None:
        """A client is gone."""
        client.gone = True
        self.clients.discard(client)
        for task in client.tasks:
            task.cancel()

    def add_record(self, record: EventRecord) -> None:
        """Pass an event on to everyone who follows its trace."""
        self.add_sent(Sent(record.trace_id, record.seq, record.to_json(), is_chunk(record)))

    def add_host_event(self, kind: str, name: str, data: dict[str, Any]) -> None:
        """Tell everyone about the host itself."""
        now = time.time()
        offset_ns = int((now - self._started) * 1e9)
        encoded = pydantic_core.to_json(data) if self.masker is None else self.masker.encode(data)
        self.add_record(EventRecord(self._host_seq, 0, HOST_TRACE, "0", None, now, offset_ns, kind, name, encoded))
        self._host_seq += 1

    def add_line(self, line: LogLine) -> None:
        """Pass a line of the log on to everyone, and keep it for those to come."""
        if self.masker is not None:
            line = line.model_copy(update={"text": self.masker.text(line.text)})
        data = encode(line)
        self.lines.append(data)
        for client in self.clients:
            client.put(LINE, data)

    def add_result(self, result: Result) -> None:
        """Tell those who follow a run that it is over."""
        data = encode(result if self.masker is None else _without_secrets(result, self.masker))
        self._result_bytes += len(data) - len(self._results.pop(result.trace_id, b""))
        self._results[result.trace_id] = data
        while self._result_bytes > MAX_RESULT_BYTES:
            self._result_bytes -= len(self._results.pop(next(iter(self._results))))
        for client in self.clients:
            client.put_result(result.trace_id, data)

    def broadcast(self, frame: BaseFrame) -> None:
        """Send a frame to everyone."""
        data = encode(frame)
        for client in self.clients:
            client.put(FRAME, data)

    def catch_up(self, client: Client, trace_id: str, after: int) -> None:
        """Begin to send what a client missed."""
        if not client.hold(trace_id, self._results.get(trace_id)):
            return
        task = asyncio.get_running_loop().create_task(client.catch_up(trace_id, after, self.tail, self.read))
        client.tasks.add(task)
        task.add_done_callback(client.tasks.discard)

    def add_sent(self, event: Sent) -> None:
        """Pass on an event that is JSON already."""
        self.events += 1
        self.tail.add(event)
        for client in self.clients:
            client.put_event(event)


def _without_secrets(result: Result, masker: Masker) -> Result:
    shown = {"output": masker.value(result.output), "error": masker.value(result.error)}
    return result.model_copy(update=shown)


def is_chunk(record: EventRecord) -> bool:
    """True for a stream's chunk, and for the message that carries one: what may be dropped for a slow client."""
    if record.kind == "stream.chunk":
        return True
    return record.kind == "message.enqueued" and b'"chunk_seq":' in record.data and b'"payload":' not in record.data
