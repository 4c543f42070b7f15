"""Events are found by text and kind: exactly those that a look at each of them finds, whatever form they have."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic_core import to_json

from penguiflow import Context, Node, create
from penguiflow.observer import Payload
from penguiflow.state import Retention, SQLiteStateStore
from penguiflow.state.search import Found, Looked, SearchQuery


async def find(store: SQLiteStateStore, text: str = "", **query: Any) -> list[Found]:
    limit = query.pop("limit", 100_000)
    items = [item async for item in store.search(SearchQuery(text=text, limit=limit, **query))]
    return [item for item in items if isinstance(item, Found)]


@pytest.fixture
async def runs(open_store: Any) -> SQLiteStateStore:
    """Runs with short hops, a stream, an error, a large payload, names and texts that JSON escapes."""
    store: SQLiteStateStore = open_store()

    async def first(value: dict[str, Any], ctx: Context) -> dict[str, Any]:
        return {"greeting": 'she said "Hi"\n', "city": "Zürich", **value}

    async def speak(value: dict[str, Any], ctx: Context) -> dict[str, Any]:
        for number, word in enumerate(("once", "upon", "a", "Time")):
            await ctx.emit_chunk(parent=ctx.message, text=f"{word} ", done=number == 3)
        return value

    last = Node(speak, name="speak")
    flow = create(Node(first, name="first").to(last), last.to())
    flow.run(recorder=store.recorder(name="tale"))
    for number in range(3):
        await flow.call({"number": number, "big": "lorem " * 60_000 + "ipsum" if number == 2 else ""})
    await flow.stop()
    log = store.recorder(name="other").open("other", {"flow": "other", "session": "s"})
    log.event("planner.decision", "search", log.root, {"next_node": "search", "args": Payload({"q": "Zürich"})})
    log.event("node.retry", "Été", log.root, {"attempt": 1, "sleep_s": 0.1, "error": "back\\slash"})
    log.close("ok")
    await store.flush()
    return store


async def every_event(store: SQLiteStateStore) -> list[tuple[str, int, str, str]]:
    """All there is, as a look at each event sees it: trace, seq, kind, name and data."""
    found = []
    for trace in await store.find_traces():
        for event in await store.load_events(trace.trace_id):
            found.append((trace.trace_id, event.seq, event.kind, f"{to_json(event.data).decode()}\0{event.name}"))
    return found


NEEDLES = [
    "greeting", "GREETING", "once", "upon a", "Time", "zürich", "ZÜRICH", "été", "hi", "ipsum", "lorem ipsum", "speak",
    "first->speak", "status", "ok", "message_id", "chunk_seq", "penguiflow.types", "nothing of that", "number", "r",
    "search", "attempt", "latency", "latency_ms", "stream_id", "done", "false", "e", ".", "stor", "Rookery",
]  # fmt: skip


@pytest.mark.parametrize("needle", NEEDLES)
async def test_what_is_found_is_what_is_there(runs: SQLiteStateStore, needle: str) -> None:
    pattern = re.compile(re.escape(needle), re.IGNORECASE)
    expected = [(trace, seq) for trace, seq, _, text in await every_event(runs) if pattern.search(text)]
    found = await find(runs, needle)
    assert [(hit.trace_id, hit.seq) for hit in found] == expected
    for hit in found:
        assert hit.match.lower() == needle.lower()


async def test_numbers_that_are_put_together_on_reading_are_found(runs: SQLiteStateStore) -> None:
    everything = await every_event(runs)
    told = {number for *_, text in everything for number in re.findall(r'"(?:latency_ms|chunk_seq)":([0-9.e-]+)', text)}
    assert len(told) > 5
    # The shortest are those of chunks.
    for number in sorted(told, key=len)[:12]:
        expected = [(trace, seq) for trace, seq, _, text in everything if number in text]
        assert [(hit.trace_id, hit.seq) for hit in await find(runs, number)] == expected, number


@pytest.mark.parametrize(
    "kinds", [["node.*"], ["planner.decision"], ["stream.chunk", "trace.end"], ["message.*"], ["*"]]
)
async def test_kinds_are_told_apart(runs: SQLiteStateStore, kinds: list[str]) -> None:
    def fits(kind: str) -> bool:
        return any(kind == each or (each.endswith("*") and kind.startswith(each[:-1])) for each in kinds)

    everything = await every_event(runs)
    expected = [(trace, seq) for trace, seq, kind, _ in everything if fits(kind)]
    assert [(hit.trace_id, hit.seq) for hit in await find(runs, kinds=kinds)] == expected
    narrowed = [(trace, seq) for trace, seq, kind, text in everything if fits(kind) and "s" in text.lower()]
    assert [(hit.trace_id, hit.seq) for hit in await find(runs, "s", kinds=kinds)] == narrowed


async def test_texts_that_json_escapes_are_found(runs: SQLiteStateStore) -> None:
    for text in ('said "Hi"', 'Hi"\n', "back\\slash", '"next_node":"search"'):
        assert await find(runs, text), text


async def test_a_regular_expression_sees_each_event(runs: SQLiteStateStore) -> None:
    (hit,) = await find(runs, r'"next_node":\s*"s\w+h"', regex=True)
    assert (hit.trace_id, hit.kind, hit.match) == ("other", "planner.decision", '"next_node":"search"')
    assert hit.before.endswith("{") or hit.before.endswith(",")
    assert len(await find(runs, "^.*Z(ü|u)rich", regex=True)) == len(await find(runs, "zürich"))
    with pytest.raises(re.error):
        await find(runs, "a(b", regex=True)


async def test_runs_are_told_apart_and_the_newest_comes_first(runs: SQLiteStateStore) -> None:
    newest, *_ = await runs.find_traces()
    assert (await find(runs))[0].trace_id == newest.trace_id
    assert {hit.trace_id for hit in await find(runs, flow="other")} == {"other"}
    assert {hit.trace_id for hit in await find(runs, session="s")} == {"other"}
    assert {hit.trace_id for hit in await find(runs, trace_id="other")} == {"other"}
    assert await find(runs, since=newest.started + 1000) == []
    assert len(await find(runs, limit=3)) == 3


async def test_it_tells_how_far_it_is_and_can_be_given_up(runs: SQLiteStateStore) -> None:
    total = sum(trace.events for trace in await runs.find_traces())
    items = [item async for item in runs.search(SearchQuery(text="nothing of that"))]
    assert items[-1] == Looked(total, total)
    searching = runs.search(SearchQuery(text="e"))
    assert isinstance(await anext(searching), Found)
    await searching.aclose()


async def test_a_store_that_is_empty_or_pruned_has_nothing(open_store: Any, runs: SQLiteStateStore) -> None:
    await runs.prune(Retention(max_traces=0))
    assert await find(runs) == []
    nowhere = open_store(runs.path.with_name("nowhere.db"), read_only=True)
    assert await find(nowhere, "x") == []
