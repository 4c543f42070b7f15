"""An invocation that goes the shortest way is stored as one record, and read as the events that it was."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow import FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, StreamChunk, create
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.hops import EVENTS_OF, Track, expand, records_of, take_entries
from penguiflow.state.chunks import unpack

HEADERS = Headers(tenant="acme")


class Line(BaseModel):
    text: str


class Listed:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


async def hands_on(message: Any, ctx: Any) -> Any:
    return message


async def swallows(message: Any, ctx: Any) -> None:
    return None


async def waits(message: Any, ctx: Any) -> Any:
    await asyncio.sleep(0)
    return message


async def sends(message: Any, ctx: Any) -> Any:
    ctx.emit_nowait(message)
    return message


async def fails_once(message: Any, ctx: Any) -> Any:
    if not ctx.trace_state.setdefault("tried", 0):
        ctx.trace_state["tried"] += 1
        raise ValueError("once")
    return message


async def records(message: Any, ctx: Any) -> Any:
    await ctx.record("length", len, "four")
    return message


async def streams(message: Any, ctx: Any) -> Any:
    await ctx.emit_chunk(parent=message, text="a", done=True)
    return message


async def gives_chunk(message: Any, ctx: Any) -> Any:
    return StreamChunk(stream_id="s", seq=0, text="x", done=True)


async def keeps(message: Any, ctx: Any) -> Any:
    ctx.trace_state["seen"] = [1]
    return message


async def meta(message: Any, ctx: Any) -> Any:
    if isinstance(message, Message):
        message.meta["by"] = "name -> with \n and \x1f and 🐧"
    return message


KINDS: list[Callable[[Any, Any], Any]] = [
    hands_on, swallows, waits, sends, fails_once, records, streams, gives_chunk, keeps, meta,
]  # fmt: skip

ONE_AT_A_TIME = [hands_on, swallows, waits, fails_once, records]


def chain(functions: list[Callable[[Any, Any], Any]]) -> PenguiFlow:
    policy = NodePolicy(validate="none", max_retries=1, backoff_base=0.0)
    nodes = [Node(function, name=f"n\n{index}", policy=policy) for index, function in enumerate(functions)]
    return create(*(node.to(after) for node, after in itertools.pairwise(nodes)), nodes[-1].to())


async def run_with(flow: PenguiFlow, recorder: Recorder, payloads: list[Any], *, fetched: bool) -> None:
    flow.run(recorder=recorder)
    for number, payload in enumerate(payloads):
        message = Message(payload=payload, headers=HEADERS, trace_id=f"t{number}")
        if fetched:
            await flow.emit(message)
        else:
            async for _ in flow.stream(message):
                pass
    await flow.stop(drain=not fetched)


_NOT_THE_SAME_TWICE = {"node_id", "latency_ms", "environment", "sleep_s", "duration_ms", "error"}


def told(events: list[TraceEvent]) -> list[tuple[Any, ...]]:
    """What the events say, without times."""
    found = []
    for event in events:
        data = {key: value for key, value in event.data.items() if key not in _NOT_THE_SAME_TWICE}
        found.append((event.seq, event.epoch, event.span_id, event.parent_id, event.kind, event.name, data))
    return found


@pytest.mark.parametrize("fetched", [False, True])
@pytest.mark.parametrize("function", KINDS)
async def test_what_is_read_is_what_happened(function: Any, fetched: bool, tmp_path: Path, open_store: Any) -> None:
    # Between two that go the shortest way; the event-by-event log of the same run says what is right.
    functions = [hands_on, function, hands_on]
    listed = Listed()
    await run_with(chain(functions), Recorder(listed), ["x", Line(text="y")], fetched=fetched)
    store = open_store(tmp_path / "state.db")
    await run_with(chain(functions), Recorder(store=store), ["x", Line(text="y")], fetched=fetched)
    await store.flush()
    for trace_id in ("t0", "t1"):
        stored = await store.load_events(trace_id)
        assert told(stored) == told([record.decode() for record in listed.records if record.trace_id == trace_id])
        assert [event.offset_ns for event in stored] == sorted(event.offset_ns for event in stored)
        trace = await store.get_trace(trace_id)
        assert trace is not None
        assert trace.events == len(stored)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([hands_on, swallows, waits, fails_once, records]), min_size=1, max_size=6),
    st.integers(1, 40),
    st.booleans(),
)
def test_any_chain_and_any_number(functions: list[Any], count: int, fetched: bool) -> None:
    async def both() -> tuple[Listed, list[list[EventRecord]]]:
        listed, hops = Listed(), Hops()
        payloads = list(range(count))
        await run_with(chain(functions), Recorder(listed), payloads, fetched=fetched)
        await run_with(chain(functions), Recorder(store=hops), payloads, fetched=fetched)  # type: ignore[arg-type]
        return listed, hops.events()

    listed, stored = asyncio.run(both())
    by_trace: dict[str, list[TraceEvent]] = {}
    for record in listed.records:
        by_trace.setdefault(record.trace_id, []).append(record.decode())
    assert [told([record.decode() for record in records]) for records in stored] == list(map(told, by_trace.values()))


class Hops:
    """A store of whole hops that takes them in the middle now and then."""

    congested = False
    path = None

    def __init__(self) -> None:
        self.sink = self
        self.told_in = self.bytes_in = 0
        self.taken: list[EventRecord] = []
        self.waiting: list[Track] = []
        self.asked = self.told = 0

    @property
    def guarded(self) -> bool:
        self.asked += 1
        return self.asked % 7 == 0

    def admits(self, trace_id: str, kind: str) -> bool:
        return True

    def attach(self, track: Track) -> None:
        self.waiting.append(track)
        self.told += 1
        if self.told % 3 == 0:
            self.look()

    def write(self, record: EventRecord) -> None:
        raise AssertionError("events go into their tracks")

    def look(self) -> None:
        waiting, self.waiting = self.waiting, []
        for track in waiting:
            entries, more = take_entries(track, 2)
            while more:
                some, more = take_entries(track, 2)
                entries += some
            for record in records_of(track.trace_id, entries):
                self.taken += expand(record)

    def durable(self) -> None:
        """Nobody waits."""

    def events(self) -> list[list[EventRecord]]:
        self.look()
        found: dict[str, list[EventRecord]] = {}
        for record in self.taken:
            found.setdefault(record.trace_id, []).append(record)
        return list(found.values())


class Drained(Hops):
    """A store whose thread takes whatever there is, as fast as it can."""

    guarded = False

    def __init__(self) -> None:
        super().__init__()
        self.tracks: deque[Track] = deque()
        self.over = False

    def attach(self, track: Track) -> None:
        self.tracks.append(track)

    def drain(self) -> None:
        while True:
            over = self.over
            try:
                track = self.tracks.popleft()
            except IndexError:
                if over:
                    return
                continue
            entries, more = take_entries(track, 3)
            if more:
                self.tracks.appendleft(track)
            for record in records_of(track.trace_id, entries):
                self.taken += expand(record)


async def test_a_thread_may_take_entries_at_any_moment() -> None:
    store = Drained()
    log: Any = Recorder(store=store).open("t")  # type: ignore[arg-type]
    thread = threading.Thread(target=store.drain)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        message = Message(payload="x", headers=HEADERS)
        for number in range(2000):
            hop = log.begin("a->b", f"m{number}", "b", "node")
            if number % 5 == 0:
                log.event("custom", "b", hop.span, {"n": number})
            hop.done("b->c" if number % 3 else None, f"n{number}", "x", message, given=number % 2 == 0)
        log.close("ok")
    finally:
        sys.setswitchinterval(interval)
        store.over = True
        thread.join(60)
    assert [record.seq for record in store.taken] == list(range(len(store.taken)))
    begun = [record for record in store.taken if record.kind.endswith(".start")]
    assert [record.span_id for record in begun] == [f"{record.seq:x}" for record in begun]
    ended = [record.span_id for record in store.taken if record.kind.endswith(".end")]
    assert sorted(ended) == sorted(record.span_id for record in begun)
    for kind, count in (("node.end", 2000), ("attempt.end", 2000), ("custom", 400), ("trace.end", 1)):
        assert sum(record.kind == kind for record in store.taken) == count
    asked = [record for record in store.taken if record.kind == "node.start"]
    assert [record.decode().data["message_id"] for record in asked] == [f"m{number}" for number in range(2000)]


async def test_one_record_for_a_whole_hop(tmp_path: Path, open_store: Any) -> None:
    store = open_store(tmp_path / "state.db")
    flow = chain([hands_on] * 5)
    flow.run(state_store=store)
    await flow.call(Message(payload="x", headers=HEADERS, trace_id="t"))
    await flow.stop()
    await store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        ((data,),) = connection.execute("SELECT data FROM event_chunks").fetchall()
    lines = data.split(b"\n")[1:]
    assert len(lines) == 1 + 1 + 5 + 1
    assert len(unpack(data).kinds) == 1 + 1 + 5 * 6 + 1 + 1


async def test_a_function_that_holds_the_loop_is_in_the_log_meanwhile(tmp_path: Path, open_store: Any) -> None:
    store = open_store(tmp_path / "state.db")
    seen = threading.Event()

    async def holds(message: Any, ctx: Any) -> Any:
        assert seen.wait(60)
        return message

    def look() -> None:
        with closing(sqlite3.connect(store.path)) as connection:
            while True:
                chunks = connection.execute("SELECT data FROM event_chunks").fetchall()
                if any("node.start" in unpack(data).kinds for (data,) in chunks):
                    break
        seen.set()

    looking = threading.Thread(target=look)
    looking.start()
    flow = chain([holds, hands_on])
    flow.run(state_store=store)
    result = await flow.call(Message(payload="x", headers=HEADERS, trace_id="t"))
    await flow.stop()
    await store.flush()
    looking.join(60)
    assert result.payload == "x"
    events = await store.load_events("t")
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.kind for event in events].count("node.end") == 2
    assert not store.congested
    await store.close()


async def test_a_long_trace_of_hops_is_cut_into_pieces(tmp_path: Path, open_store: Any) -> None:
    store = open_store(tmp_path / "state.db")
    flow = chain([hands_on] * 401)
    flow.run(state_store=store)
    await flow.call(Message(payload="x", headers=HEADERS, trace_id="t"))
    await flow.stop()
    await store.flush()
    events = await store.load_events("t")
    assert [event.seq for event in events] == list(range(2 + 401 * 6 + 1 + 1))
    page = await store.load_events("t", after=1000, limit=7)
    assert page == events[1001:1008]
    await store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        pieces = connection.execute("SELECT first_seq, last_seq, data FROM event_chunks ORDER BY first_seq").fetchall()
    assert all(len(unpack(data).kinds) == last - first + 1 <= 256 for first, last, data in pieces)


@pytest.mark.parametrize("kind", EVENTS_OF)
@pytest.mark.parametrize("data", [b"", b"{}", b"\x1f".join([b"1"] * 3), b"\x1f".join([b"x"] * 7)])
def test_a_damaged_hop_is_a_damaged_file(kind: str, data: bytes) -> None:
    head = b'[0,["1"],["0"],[1.0],[1],["%b"],["n"]]' % kind.encode()
    with pytest.raises(sqlite3.DatabaseError, match="events cannot be read"):
        unpack(head + b"\n" + data)


def test_hops_of_version_4_are_read() -> None:
    sent = b'{"payload":{"type":"builtins:str","value":"x"},"message_id":"%b","source":"%b","target":"%b"}'
    head = b'[0,["0","0","3"],[null,null,"0"],[1.5,1.5,1.5],[10,20,30],%b,["flow","OpenSea->a","a"]]'
    lines = [
        head % b'["trace.start","message.enqueued","hop.given"]',
        b"{}",
        sent % (b"1111", b"OpenSea", b"a"),
        b"\x1f".join([b'"OpenSea->a"', b'"abc"', b'"a->Rookery"', b"1111", b"1000000", b"2222"])
        + b"\x1f"
        + sent % (b"2222", b"a", b"Rookery"),
    ]
    chunk = unpack(b"\n".join(lines))
    found = [chunk.record(index, 0, "t").decode() for index in range(len(chunk.kinds))]
    well_formed_from(found, 2)
    kinds = ["message.dequeued", "node.start", "attempt.start", "attempt.end", "message.enqueued", "message.dequeued"]
    assert [event.kind for event in found[2:]] == [*kinds, "node.end"]
    assert [event.span_id for event in found[2:]] == ["0", "3", "4", "4", "3", "0", "3"]
    assert found[3].data == {"message_id": "1111", "node_id": "abc"}
    assert found[5].data == {"status": "ok", "latency_ms": 1.0}
    assert found[6].data["payload"] == {"type": "builtins:str", "value": "x"}
    assert (found[6].ts, found[6].offset_ns) == (1.501, 1000030)


def well_formed_from(events: list[TraceEvent], first: int) -> None:
    begun = [event for event in events[first:] if event.kind.endswith(".start")]
    assert [event.span_id for event in begun] == [f"{event.seq:x}" for event in begun]


HOP_LINES = [
    b'[0,["0"],[null],[1.5],[10],["trace.start"],["flow"],["hops",0,0,"0",1500000,10,".sn"]]',
    b"{}",
    b'"OpenSea->a","1111",0,10,0\x1f{"type":"builtins:str","value":"x"}\x1f',
    b'null,"abc","a->b","2222",5,20,1000\x1f=\x1f=',
]


def test_a_hop_takes_what_it_does_not_say_from_the_one_before() -> None:
    chunk = unpack(b"\n".join(HOP_LINES))
    found = [chunk.record(index, 0, "t").decode() for index in range(len(chunk.kinds))]
    well_formed_from(found, 2)
    assert found[1].data["payload"] == found[6].data["payload"] == {"type": "builtins:str", "value": "x"}
    assert [found[1].name, found[2].name, found[3].name, found[6].name] == ["OpenSea->a", "OpenSea->a", "a", "a->b"]
    assert [event.ts for event in found] == [1.5, 1.5, *[1.500005] * 3, *[1.500006] * 3]
    assert found[6].data["message_id"] == "2222"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (0, HOP_LINES[0].replace(b".sn", b".s")),
        (0, HOP_LINES[0].replace(b".sn", b".sx")),
        (0, HOP_LINES[0].replace(b".sn", b"..s")),
        (0, HOP_LINES[0].replace(b'".sn"', b"null")),
        (0, HOP_LINES[0].replace(b',"0",150', b",0,150")),
        (0, HOP_LINES[0].replace(b"1500000", b"null")),
        (0, HOP_LINES[0].replace(b"1500000", b"1e400")),
        (2, b""),
        (2, b"{}\x1f{}\x1f"),
        (2, HOP_LINES[2].replace(b'"1111"', b"null")),
        (2, HOP_LINES[2].replace(b",10,", b",true,")),
        (3, HOP_LINES[3].replace(b'"abc"', b"null")),
        (3, HOP_LINES[3].replace(b'"a->b"', b"null")),
        (3, HOP_LINES[3].replace(b'"2222"', b"null")),
        (3, HOP_LINES[3].replace(b'"2222"', b"2222")),
        (3, HOP_LINES[3].replace(b",1000", b",1" + b"0" * 400)),
        (3, HOP_LINES[3].replace(b"\x1f=\x1f=", b"\x1f=")),
        (3, b'"no","id","a","abc","a->b","2222",5,20\x1f=\x1f='),
    ],
)
def test_damaged_lines_are_a_damaged_file(line: int, wrong: bytes) -> None:
    lines = [*HOP_LINES[:line], wrong, *HOP_LINES[line + 1 :]]
    with pytest.raises(sqlite3.DatabaseError, match="events cannot be read"):
        unpack(b"\n".join(lines))


async def events_of(path: Path, open_store: Any, function: Any, result: str) -> list[TraceEvent]:
    """Of one trace through two nodes; `result` is what the caller gets, as text."""
    store = open_store(path)
    flow = chain([function, hands_on])
    flow.run(state_store=store)
    try:
        told = str((await flow.call(Message(payload="x", headers=HEADERS, trace_id="t"))).payload)
    except FlowError as error:
        told = f"{error.code}: {error.message}"
    await flow.stop()
    await store.flush()
    assert told == result
    return list(await store.load_events("t"))


def well_formed(events: list[TraceEvent]) -> None:
    """No gaps, spans named after their starts, all ended, no message taken twice."""
    assert [event.seq for event in events] == list(range(len(events)))
    begun = [event.span_id for event in events if event.kind.endswith(".start")]
    assert begun == [f"{event.seq:x}" for event in events if event.kind.endswith(".start")]
    assert sorted(begun) == sorted(event.span_id for event in events if event.kind.endswith(".end"))
    taken = [event.data["message_id"] for event in events if event.kind == "message.dequeued"]
    assert len(taken) == len(set(taken))


async def test_a_deadline_that_a_node_gives_its_own_message_holds_for_what_it_sends(
    tmp_path: Path, open_store: Any
) -> None:
    async def late(message: Any, ctx: Any) -> Any:
        message.deadline_s = 1.0
        return message

    events = await events_of(tmp_path / "state.db", open_store, late, "text='Deadline exceeded' citations=[]")
    well_formed(events)
    first, second = [event.data["status"] for event in events if event.kind == "node.end"]
    assert (first, second) == ("ok", "timeout")


async def test_a_result_that_cannot_be_looked_at_is_the_nodes_failure(tmp_path: Path, open_store: Any) -> None:
    class Odd:
        def __getattr__(self, name: str) -> Any:
            raise LookupError("nothing here")

    async def gives(message: Any, ctx: Any) -> Any:
        return Odd()

    told = "NODE_EXCEPTION: Node 'n\n0' raised LookupError: nothing here"
    events = await events_of(tmp_path / "state.db", open_store, gives, told)
    well_formed(events)
    assert events[-1].data["status"] == "error"


async def test_a_node_whose_reason_to_wait_fails_is_no_recorder_that_fails(tmp_path: Path, open_store: Any) -> None:
    def why() -> str:
        raise LookupError("no idea")

    async def waits_for_more(message: Any, ctx: Any) -> None:
        ctx.hold_trace(why)

    told = "NODE_EXCEPTION: a node waits for more messages (LookupError when asked why: no idea)"
    events = await events_of(tmp_path / "state.db", open_store, waits_for_more, told)
    well_formed(events)
    assert events[-1].data["status"] == "error"


async def test_two_flows_write_into_one_trace_within_one_function(tmp_path: Path, open_store: Any) -> None:
    store = open_store(tmp_path / "state.db")
    recorder = store.recorder()
    other = chain([hands_on])

    async def sends_elsewhere(message: Any, ctx: Any) -> Any:
        await other.emit(Message(payload="other", headers=HEADERS, trace_id="t"))
        return message

    flow = chain([sends_elsewhere, hands_on])
    other.run(recorder=recorder)
    flow.run(recorder=recorder)
    assert (await flow.call(Message(payload="x", headers=HEADERS, trace_id="t"))).payload == "x"
    assert (await other.fetch()).payload == "other"
    await flow.stop()
    await other.stop()
    await store.flush()
    well_formed(await store.load_events("t"))
