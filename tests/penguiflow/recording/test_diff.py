"""Comparing traces: what counts as a difference, where it is, and what does not count."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from penguiflow import Context, FlowError, Headers, Message, Node, NodePolicy, create
from penguiflow.checkpoints import Checkpoint, Decision, Interceptor
from penguiflow.observer import Payload
from penguiflow.recording import diff as diffing
from penguiflow.recording.diff import TraceDiff, diff_traces
from penguiflow.state.sqlite import SQLiteStateStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStateStore]:
    opened = SQLiteStateStore(tmp_path / "state.db")
    yield opened
    await opened.close()


async def run(
    store: SQLiteStateStore,
    trace_id: str,
    *,
    prompt: str = "sum up",
    fail: int = -1,
    words: int = 3,
    interceptors: Sequence[Interceptor] = (),
) -> None:
    """Splits a text, asks about each part in parallel, streams what it got."""

    async def split(message: Message, ctx: Context) -> None:
        for part in range(words):
            await ctx.emit(message.model_copy(update={"payload": f"{message.payload} {part}"}))

    async def ask(message: Message, ctx: Context) -> Message:
        async def model(request: dict[str, str]) -> str:
            await asyncio.sleep(random.random() / 500)
            return request["prompt"].upper()

        ctx.now()
        if message.payload.endswith(f" {fail}"):
            raise ValueError("cannot")
        answer = await ctx.record("model", model, {"prompt": f"{prompt}: {message.payload}"})
        return message.model_copy(update={"payload": answer})

    async def tell(message: Message, ctx: Context) -> Message:
        for piece in (message.payload[:4], message.payload[4:]):
            await ctx.emit_chunk(parent=message, text=piece, to=[])
        return message.model_copy(update={"payload": message.payload.lower()})

    plain = NodePolicy(validate="none", max_retries=0)
    one = Node(split, name="split", policy=plain)
    two = Node(ask, name="ask", policy=NodePolicy(validate="none", max_retries=0, max_concurrency=4))
    three = Node(tell, name="tell", policy=plain)
    flow = create(one.to(two), two.to(three))
    flow.run(state_store=store, interceptors=interceptors)
    message = Message(payload="fish", headers=Headers(tenant="acme"), trace_id=trace_id)
    try:
        async for _ in flow.stream(message):
            continue
    except FlowError:
        assert fail >= 0
    finally:
        await flow.stop()
    await store.flush()


async def compare(store: SQLiteStateStore, a: str = "a", b: str = "b", **options: Any) -> TraceDiff:
    return await diff_traces((store, a), (store, b), **options)


def where(diff: TraceDiff) -> list[tuple[str, str]]:
    return [(difference.aspect, difference.path) for difference in diff.differences]


async def test_two_runs_of_the_same_are_equal_whatever_came_first(store: SQLiteStateStore) -> None:
    await run(store, "a", words=20)
    await run(store, "b", words=20)
    orders = [
        [str(event.data["request"]) for event in await store.load_events(trace, kinds=["record"])] for trace in "ab"
    ]
    assert orders[0] != orders[1], "the parallel calls ended in the same order by chance"
    diff = await compare(store)
    assert (diff.equal, diff.total, diff.first, diff.counts) == (True, 0, None, [])
    assert diff.times[0].name == "trace"
    assert {time.name for time in diff.times[1:]} == {"split", "ask", "tell"}


async def test_the_first_divergence_is_the_prompt_that_changed(store: SQLiteStateStore) -> None:
    await run(store, "a")
    await run(store, "b", prompt="shorten")
    diff = await compare(store)
    assert not diff.equal
    assert diff.first is not None
    assert diff.first.aspect == "prompt"
    number = diff.first.path.removeprefix("ask[").removesuffix("]/attempt[0]/model")
    (change,) = diff.first.changes
    assert (change.pointer[-6:], change.a, change.b) == ("prompt", f"sum up: fish {number}", f"shorten: fish {number}")
    assert [aspect for aspect, _ in where(diff)] == sorted(
        (aspect for aspect, _ in where(diff)), key=["prompt", "output"].index
    )
    # Three prompts, three answers, three messages, three streams, three results.
    assert diff.total == 15
    assert {path for _, path in where(diff)} >= {"ask[2]/attempt[0]/model", "ask[1] -> tell", "tell[1] -> Rookery"}


async def test_who_looked_on_at_a_stop_changed_nothing(store: SQLiteStateStore) -> None:
    class Looks:
        def wants(self, checkpoint: Checkpoint) -> bool:
            return checkpoint.kind == "before_node"

        async def __call__(self, checkpoint: Checkpoint) -> Decision | None:
            return Decision.proceed

    async def change(checkpoint: Checkpoint) -> Decision | None:
        if checkpoint.kind != "before_node" or checkpoint.name != "split":
            return None
        return Decision.edit(checkpoint.payload.model_copy(update={"payload": "krill"}))

    await run(store, "a")
    await run(store, "b", interceptors=[Looks()])
    await run(store, "c", interceptors=[change])
    assert await store.load_events("b", kinds=["checkpoint.resolved"])
    assert (await compare(store)).equal
    assert (await compare(store, "b", "a")).equal
    found = await compare(store, "b", "c")
    assert found.first is not None
    assert (found.first.aspect, found.first.b and found.first.b.kind) == ("decision", "edit")


async def test_what_failed_and_what_is_missing_for_it(store: SQLiteStateStore) -> None:
    await run(store, "a")
    await run(store, "b", fail=1)
    diff = await compare(store)
    assert diff.first is not None
    assert diff.first.path.startswith("ask[1]")
    found = where(diff)
    assert ("status", "ask[1]/attempt[0]") in found
    assert ("status", "ask[1]") in found
    assert ("status", "trace") in found
    assert ("output", "ask[1] -> tell") in found
    assert diff.counts


async def test_more_of_the_same_is_told_once_each(store: SQLiteStateStore) -> None:
    await run(store, "a", words=2)
    await run(store, "b", words=3)
    diff = await compare(store)
    assert diff.first is not None
    assert (diff.first.path, diff.first.a) == ("split[0] -> ask", None)
    only = [each.path for each in diff.differences if each.aspect == "invocation"]
    assert only == ["ask[2]", "tell[2]"]
    assert [(count.name, count.a, count.b) for count in diff.counts if count.kind == "node"] == [
        ("ask", 2, 3),
        ("tell", 2, 3),
    ]


def write(store: SQLiteStateStore, trace_id: str, values: list[Any], *, name: str = "work", ids: str = "m") -> None:
    log = store.recorder(name="f").open(trace_id)
    for number, value in enumerate(values):
        node = log.start("node", name, log.root, {"message_id": f"{ids}{number}"})
        attempt = log.start("attempt", name, node, {"attempt": 0})
        log.end("attempt", name, attempt, node, "ok", {"latency_ms": random.random()})
        data = {"message_id": f"o{random.random()}", "payload": Payload(value), "meta": {}}
        log.event("message.enqueued", f"{name}->Rookery", node, data)
        log.end("node", name, node, log.root, "ok")
    log.close("ok")


async def test_the_order_of_keys_does_not_matter_and_numbers_do(store: SQLiteStateStore) -> None:
    write(store, "a", [{"x": 1, "y": {"p": 0, "q": [1, 2]}}, {"n": -1}])
    write(store, "b", [{"y": {"q": [1, 2], "p": 0}, "x": 1}, {"n": -2}])
    await store.flush()
    diff = await compare(store)
    assert where(diff) == [("output", "work[1] -> Rookery")]
    assert [(c.pointer, c.a, c.b) for c in diff.differences[0].changes] == [("/payload/value/n", -1, -2)]


async def test_other_message_ids_are_paired_by_position(store: SQLiteStateStore) -> None:
    write(store, "a", [1, 2, 3], ids="m")
    write(store, "b", [1, 5, 3], ids="other")
    await store.flush()
    assert where(await compare(store)) == [("output", "work[1] -> Rookery")]


async def test_only_the_first_are_shown_and_all_are_counted(
    store: SQLiteStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffing, "MAX_REMEMBERED", 10)
    monkeypatch.setattr(diffing, "PAGE", 7)
    write(store, "a", list(range(100)))
    write(store, "b", [number + 1 for number in range(100)])
    await store.flush()
    diff = await compare(store, limit=5)
    assert diff.total == 100
    assert [path for _, path in where(diff)] == [f"work[{number}] -> Rookery" for number in range(5)]


async def test_long_texts_are_shown_where_they_differ(store: SQLiteStateStore) -> None:
    write(store, "a", ["x" * 50_000 + "one" + "y" * 50_000])
    write(store, "b", ["x" * 50_000 + "two" + "y" * 50_000])
    await store.flush()
    (difference,) = (await compare(store)).differences
    (change,) = difference.changes
    assert "xone" in change.a
    assert "xtwo" in change.b
    assert len(change.a) < 5000


async def test_streams_are_compared_by_their_text(store: SQLiteStateStore) -> None:
    for trace, pieces in (("a", ["he", "llo"]), ("b", ["hel", "lo"]), ("c", ["hel", "p"])):
        log = store.recorder(name="f").open(trace)
        node = log.start("node", "say", log.root, {"message_id": "m"})
        for seq, text in enumerate(pieces):
            log.event("stream.chunk", trace, node, {"stream_id": trace, "chunk_seq": seq, "text": text, "done": False})
        log.end("node", "say", node, log.root, "ok")
        log.close("ok")
    await store.flush()
    assert (await compare(store)).equal
    (difference,) = (await compare(store, "a", "c")).differences
    assert difference.a is not None
    assert difference.b is not None
    assert (difference.a.value, difference.b.value) == ("hello", "help")


async def test_a_trace_compared_with_one_that_is_empty(store: SQLiteStateStore) -> None:
    write(store, "a", [1, 2])
    write(store, "b", [])
    await store.flush()
    diff = await compare(store)
    assert [(d.path, d.b) for d in diff.differences] == [("work[0]", None), ("work[1]", None)]
    other = await compare(store, "b", "a")
    assert [(d.path, d.a) for d in other.differences] == [("work[0]", None), ("work[1]", None)]


async def test_interleaved_invocations_are_shown_with_their_paths(store: SQLiteStateStore) -> None:
    for trace, answer in (("a", "yes"), ("b", "no")):
        log = store.recorder(name="f").open(trace)
        long = log.start("node", "long", log.root, {"message_id": "l"})
        inner = log.start("attempt", "long", long, {"attempt": 0})
        for number in range(5):
            node = log.start("node", "work", log.root, {"message_id": f"m{number}"})
            tool = log.start("tool", "fetch", node, {"request": number})
            log.end("tool", "fetch", tool, node, "ok", {"response": answer if number in (1, 3) else 0})
            log.end("node", "work", node, log.root, "ok")
        model = log.start("llm", "model", inner, {"request": "?"})
        log.end("llm", "model", model, inner, "ok", {"response": answer, "usage": {"input_tokens": 3}, "cost": 0.5})
        log.end("attempt", "long", inner, long, "ok")
        log.end("node", "long", long, log.root, "ok")
        log.close("ok")
    await store.flush()
    diff = await compare(store)
    assert where(diff) == [
        ("output", "work[1]/fetch[0]"),
        ("output", "work[3]/fetch[0]"),
        ("output", "long[0]/attempt[0]/model[0]"),
    ]
    assert {total.name: (total.a, total.b) for total in diff.totals if total.name in ("tokens", "cost")} == {
        "tokens": (3, 3),
        "cost": (0.5, 0.5),
    }
