"""A trace that begins and ends within one commit is written by its shape, and read as any other."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow import Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.recording import EventRecord, Recorder
from penguiflow.recording.hops import Track, take_entries
from penguiflow.state import batch, schema, whole, writer
from penguiflow.state.batch import Batch, Stretch
from penguiflow.state.chunks import unpack
from penguiflow.state.inserting import insert

HEADERS = Headers(tenant="acme")


class Line(BaseModel):
    text: str


class Listed:
    """A store of whole hops that is asked for nothing until the end."""

    congested = guarded = False
    path = None

    def __init__(self) -> None:
        self.sink = self
        self.told_in = self.bytes_in = 0
        self.tracks: list[Track] = []

    def admits(self, trace_id: str, kind: str) -> bool:
        return True

    def attach(self, track: Track) -> None:
        self.tracks.append(track)

    def write(self, record: EventRecord) -> None:
        raise AssertionError("events go into their tracks")

    def durable(self) -> None:
        """Nobody waits."""

    def stretches(self) -> list[Stretch]:
        return [Stretch(track.trace_id, take_entries(track, 10_000)[0]) for track in self.tracks]


async def hands_on(message: Any, ctx: Any) -> Any:
    return message


async def swallows(message: Any, ctx: Any) -> None:
    return None


async def waits(message: Any, ctx: Any) -> Any:
    await asyncio.sleep(0)
    return message


async def makes_another(message: Any, ctx: Any) -> Any:
    line = Line(text="50 % {}, 🐧")
    return message.model_copy(update={"payload": line}) if isinstance(message, Message) else line


async def unwraps(message: Any, ctx: Any) -> Any:
    return message.payload if isinstance(message, Message) else message


async def notes(message: Any, ctx: Any) -> Any:
    return message.model_copy(update={"meta": {"by": "%s"}}) if isinstance(message, Message) else message


FUNCTIONS = [hands_on, swallows, waits, makes_another, unwraps, notes]
PAYLOADS: list[Any] = [
    "x", 7, None, Line(text="y"), Line(text="long" * 90), {"value": [1], "lost": {}}, {1, 2}, "⟦é%d⟧" * 30,
]  # fmt: skip


def chain(functions: list[Callable[[Any, Any], Any]]) -> PenguiFlow:
    policy = NodePolicy(validate="none")
    nodes = [Node(function, name=f"n%d {index}", policy=policy) for index, function in enumerate(functions)]
    return create(*(node.to(after) for node, after in itertools.pairwise(nodes)), nodes[-1].to())


async def stretches_of(functions: list[Any], payload: Any, count: int = 4) -> list[Stretch]:
    store = Listed()
    flow = chain(functions)
    flow.run(recorder=Recorder(store=store, name="a %r flow"))  # type: ignore[arg-type]
    for number in range(count):
        if not isinstance(payload, BaseModel) and number % 2:
            async for _ in flow.stream(payload, trace_id=f"t{number}"):
                pass
        else:
            await flow.call(Message(payload=payload, headers=HEADERS, trace_id=f"t{number}"))
    await flow.stop()
    return store.stretches()


def stored(stretches: list[Stretch]) -> tuple[list[Any], list[Any]]:
    """Rows and events, as one commit leaves them in a database."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.migrate(connection, "here")
        connection.execute("BEGIN")
        filled = Batch(1, {}, version=1)
        assert filled.gather(stretches)
        assert list(filled.take({})) == []
        assert filled.lost == 0
        insert(connection, filled)
        connection.execute("COMMIT")
        sizes = "SELECT sum(length(data)) FROM event_chunks WHERE trace = traces.id"
        (differ,) = connection.execute(f"SELECT count(*) FROM traces WHERE bytes <> ({sizes})").fetchone()
        assert not differ
        rows = connection.execute("SELECT * FROM traces ORDER BY trace_id").fetchall()
        names = [about[0] for about in connection.execute("SELECT * FROM traces").description]
        chunks = connection.execute(
            "SELECT trace_id, first_seq, last_seq, data FROM event_chunks JOIN traces ON traces.id = trace"
            " ORDER BY trace_id, first_seq"
        ).fetchall()
    told = [
        {name: value for name, value in zip(names, row, strict=True) if name not in ("id", "bytes")} for row in rows
    ]
    return told, [(trace_id, first, last, unpack(data)) for trace_id, first, last, data in chunks]


@pytest.fixture
def wholes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was taken whole; no shape is known yet."""
    taken: list[Any] = []

    def take(*arguments: Any) -> Any:
        found = whole.take_whole(*arguments)
        taken.append(found)
        return found

    monkeypatch.setattr(whole, "_shapes", {})
    monkeypatch.setattr(whole, "_seen_once", set())
    monkeypatch.setattr(batch, "take_whole", take)
    return taken


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=5), st.sampled_from(PAYLOADS))
def test_a_shape_stores_what_events_would(
    wholes: list[Any], monkeypatch: pytest.MonkeyPatch, functions: list[Any], payload: Any
) -> None:
    stretches = asyncio.run(stretches_of(functions, payload))
    by_shape = stored(stretches)
    with monkeypatch.context() as slowly:
        slowly.setattr(batch, "take_whole", lambda *arguments: None)
        assert stored(stretches) == by_shape


@pytest.mark.parametrize("function", [hands_on, swallows, makes_another, unwraps, notes])
async def test_the_third_of_its_kind_is_written_by_its_shape(wholes: list[Any], function: Any) -> None:
    stretches = await stretches_of([hands_on, function, hands_on], Line(text="y"), 5)
    rows, chunks = stored(stretches)
    assert [found is not None for found in wholes] == [False, True, True, True, True]
    assert [row["trace_id"] for row in rows] == [chunk[0] for chunk in chunks] == [f"t{number}" for number in range(5)]


async def test_one_that_waits_is_none(wholes: list[Any]) -> None:
    stored(await stretches_of([hands_on, waits], "x"))
    assert wholes == [None] * 4


async def test_what_is_not_a_whole_trace_is_none(wholes: list[Any]) -> None:
    stretches = await stretches_of([hands_on], "x", 8)
    assert [row["events"] for row in stored(stretches[:3])[0]] == [10, 10, 10]
    assert wholes.pop() is not None
    entries = stretches[4].entries
    begun = (2, 0, None, "0", 0, 1, 1, ("a", "b", "c", "d"))
    for wrong in (entries[:-1], entries[1:], [*entries[:2], *entries[3:]], [entries[0], entries[-1]], [entries[0]]):
        stored([Stretch("t4", wrong)])
    stored([Stretch("t4", [*entries[:2], begun, entries[-1]])])
    assert [found is not None for found in wholes] == [False, True, *[False] * 6]
    # One that comes in two parts is whole all the same.
    stored([Stretch("t4", entries[:2]), Stretch("t5", stretches[5].entries), Stretch("t4", entries[2:])])
    assert [found is not None for found in wholes[-2:]] == [True, True]


async def test_a_trace_that_is_stored_already_goes_on(tmp_path: Path, open_store: Any, wholes: list[Any]) -> None:
    store = open_store(tmp_path / "state.db")
    flow = chain([hands_on, hands_on])
    flow.run(state_store=store)
    for number in (0, 1, 2, 3, 3, 2):
        await flow.call(Message(payload="x", headers=HEADERS, trace_id=f"t{number}"))
    await flow.stop()
    await store.flush()
    found = {trace.trace_id: (trace.events, trace.epoch) for trace in await store.find_traces()}
    once = found["t0"][0]
    assert found == {"t0": (once, 0), "t1": (once, 0), "t2": (2 * once, 1), "t3": (2 * once, 1)}
    for trace_id in found:
        events = await store.load_events(trace_id)
        assert [event.seq for event in events] == list(range(len(events)))
    # Of another process, too.
    other = open_store(tmp_path / "state.db")
    flow = chain([hands_on, hands_on])
    flow.run(state_store=other)
    await flow.call(Message(payload="x", headers=HEADERS, trace_id="t0"))
    await flow.stop()
    await other.flush()
    events = await other.load_events("t0")
    assert [event.seq for event in events] == list(range(2 * once))


async def test_ids_that_are_one_when_they_are_clean_are_one_trace(wholes: list[Any]) -> None:
    stretches = await stretches_of([hands_on], "x", 5)
    stored(stretches[:2])
    for names in (("\ud800", "\ud800", "\ud800"), ("\\ud800", "\ud800", "t"), ("\ud800", "t", "\\ud800")):
        renamed = [Stretch(name, each.entries) for name, each in zip(names, stretches[2:], strict=True)]
        rows, _ = stored(renamed)
        assert {row["trace_id"]: row["events"] for row in rows if row["trace_id"] != "t"} in (
            {"\\ud800": 30},
            {"\\ud800": 20},
        )
        assert sum(row["events"] for row in rows) == 30


async def test_many_kinds_of_traces_are_no_memory(wholes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "_MAX_SHAPES", 3)
    for length in range(1, 9):
        stored(await stretches_of([hands_on] * length, "x"))
    assert 0 < len(whole._shapes) <= 3
    assert len(whole._seen_once) <= 3


async def test_a_large_payload_takes_the_long_way(tmp_path: Path, open_store: Any, wholes: list[Any]) -> None:
    store = open_store(tmp_path / "state.db", inline_bytes=1000)
    flow = chain([hands_on])
    flow.run(state_store=store)
    for number in range(4):
        await flow.call(Message(payload="x" * 2000, headers=HEADERS, trace_id=f"t{number}"))
    await flow.stop()
    await store.flush()
    for number in range(4):
        events = await store.load_events(f"t{number}")
        assert events[1].data["payload"]["value"] == "x" * 2000


async def test_a_commit_of_many_traces_of_several_kinds(
    tmp_path: Path, open_store: Any, wholes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store(tmp_path / "state.db")
    recorder = store.recorder()
    flows = [chain([hands_on] * length) for length in (1, 2, 3)]
    for flow in flows:
        flow.run(recorder=recorder)

    async def one(number: int) -> None:
        message = Message(payload=number, headers=HEADERS, trace_id=f"t{number:03}")
        assert (await flows[number % 3].call(message)).payload == number

    await asyncio.gather(*(one(number) for number in range(300)))
    for flow in flows:
        await flow.stop()
    await store.flush()
    assert sum(found is not None for found in wholes) > 200
    for number in range(300):
        events = await store.load_events(f"t{number:03}")
        assert [event.seq for event in events] == list(range(3 + 6 * (number % 3 + 1) + 1))
        summary = await store.get_trace(f"t{number:03}")
        assert (summary.status, summary.input, summary.output) == ("ok", str(number), str(number))
