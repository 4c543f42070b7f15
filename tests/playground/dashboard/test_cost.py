"""What events and frames cost, beside a loop that does a known amount of work in the same process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from penguiflow.state import SQLiteStateStore
from playground.dashboard.heads import read_head
from playground.dashboard.model import Workspace
from playground.dashboard.trace import TraceModel
from playground.sources import Inbox, put_events

ROUNDS = 5
PER_FRAME = 350
"""Of 5,000 events and 2,000 chunks a second, in a twentieth of one."""
EVENT_RATIO = 8
"""To take in an event, beside decoding its JSON: 2.5 where nothing disturbs."""
FRAME_RATIO = 12
"""A frame with all that arrived in it, beside decoding that: 2.5 where nothing disturbs, at any length of the run."""


def storm(script: Any, trace_id: str, rounds: int) -> list[bytes]:
    """Events of a flow whose one node is busy and streams; seven of a round."""
    run = script(trace_id)
    for number in range(rounds):
        message = run.send(
            run.root, "pump", "leaf", {"text": "the quick brown fox", "number": number}, f"{number:016x}"
        )
        node = run.node("leaf", message)
        attempt = run.attempt(node)
        run.chunk(node, "s", number, "word " if number % 12 else "word\n")
        run.end(attempt, latency_ms=0.01)
        run.end(node)
    return list(run.events)


def decoding_s(events: Sequence[bytes]) -> float:
    begun = time.process_time()
    for raw in events:
        json.loads(raw)
    return time.process_time() - begun


def least_ratio(cost: Callable[[], float], events: Sequence[bytes]) -> float:
    """Of some rounds, each beside decoding the events: what disturbs makes it larger, nothing makes it smaller."""
    return min(cost() / max(decoding_s(events), 1e-9) for _ in range(ROUNDS))


def test_an_event_costs_little_more_than_to_decode_it(script: Any) -> None:
    events = storm(script, "e" * 32, 1500)

    def taking_in() -> float:
        workspace, inbox = Workspace(), Inbox()
        put_events(inbox, events)
        begun = time.process_time()
        while inbox.events:
            workspace.drain(inbox)
        spent = time.process_time() - begun
        assert len(workspace.traces["e" * 32].events) == len(events)
        return spent

    assert least_ratio(taking_in, events) < EVENT_RATIO


async def test_a_frame_costs_what_arrived_in_it_however_long_the_run_is(open_desk: Any, script: Any) -> None:
    events = storm(script, "e" * 32, 5000)
    async with open_desk() as desk:
        await desk.until(lambda: desk.app.flows.module is not None, "the flows")
        frames, inbox = desk.app.frames, desk.source.inbox
        fed = 0

        def feed(count: int) -> float:
            nonlocal fed
            put_events(inbox, events[fed : fed + count])
            fed += count
            begun = time.process_time()
            while inbox.events:
                frames._step()
            return time.process_time() - begun

        feed(PER_FRAME)
        desk.app.control.select("e" * 32)
        await desk.until(lambda: desk.app.spans.trace is not None, "the run")
        early = least_ratio(lambda: feed(PER_FRAME), events[:PER_FRAME])
        feed(20_000)
        await desk.frame()
        late = least_ratio(lambda: feed(PER_FRAME), events[:PER_FRAME])
        trace = desk.app.workspace.traces["e" * 32]
        assert [read_head(raw).seq for raw in trace.events] == list(range(fed))
    assert early < FRAME_RATIO
    assert late < FRAME_RATIO


async def test_no_event_is_missing_from_the_store_however_fast_they_come_and_whoever_reads(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    log = store.recorder(name="storm").open("t")
    seen = []
    for number in range(3000):
        message = {"message_id": f"{number:016x}"}
        log.event("message.dequeued", "x->leaf", log.root, message)
        node = log.start("node", "leaf", log.root, message)
        log.event("stream.chunk", "s", node, {"stream_id": "s", "chunk_seq": number, "text": "x", "done": False})
        log.end("node", "leaf", node, log.root, "ok")
        if store.congested:
            await store.wait_ready()
        if number % 500 == 0:
            seen.append((await store.open_pieces("t")).events)
    log.close("ok")
    await store.flush()
    pieces = await store.open_pieces("t")
    trace = TraceModel("t")
    for number in range(len(pieces)):
        for raw in pieces.lines(number):
            trace.add(raw)
    assert seen == sorted(seen)
    assert trace.taken == pieces.events == 3000 * 4 + 2
    assert len(trace.spans) == 3001
    assert trace.streams["s"].chunks == 3000
    assert not trace.streams["s"].gaps
    await store.close()
