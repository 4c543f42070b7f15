"""One trace that several processes write."""

from __future__ import annotations

import asyncio
import random
import sys
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from penguiflow.observer import Payload
from penguiflow.recording import Recorder, TraceEvent, build_spans
from penguiflow.state import Retention

T = "trace"
HANG_S = 120.0


def sent(source: str, target: str, message_id: str, value: Any) -> dict[str, Any]:
    return {"payload": Payload(value), "message_id": message_id, "source": source, "target": target}


def check(events: Sequence[TraceEvent]) -> dict[str, list[int]]:
    """The order that was promised; what each worker wrote."""
    assert [event.seq for event in events] == list(range(len(events)))
    of_worker: dict[str, list[int]] = defaultdict(list)
    started: set[str] = set()
    for event in events:
        assert event.worker_id is not None
        assert event.worker_seq is not None
        assert event.offset_ns >= 0
        of_worker[event.worker_id].append(event.worker_seq)
        if event.kind.endswith(".start"):
            assert event.span_id not in started
            assert event.parent_id is None or event.parent_id in started
            started.add(event.span_id)
        else:
            assert event.span_id in started
    for numbers in of_worker.values():
        assert numbers == list(range(len(numbers)))
    return of_worker


async def begin(store: Any, **about: Any) -> Any:
    log = Recorder(store=store, name="flow").begin_shared(T, worker="caller", data={"target": "x.py", **about})
    log.event("message.enqueued", "OpenSea->a", log.root, sent("OpenSea", "a", "m0", {"n": 0}))
    await store.flush()
    return log


async def work(store: Any, recorder: Recorder, name: str, number: int, root: str) -> None:
    """One delivery."""
    log = recorder.join(T, worker=name, root=root)
    log.event("message.dequeued", "OpenSea->a", log.root, {"message_id": "m0", "queue_wait_s": 0.1, "attempt": 1})
    node = log.start("node", "a", log.root, {"message_id": "m0", "node_id": "a-1"})
    await asyncio.sleep(0)
    attempt = log.start("attempt", "a", node, {"attempt": 0})
    log.event("llm.end", "m", attempt, {"usage": {"total_tokens": 7, "cost": 0.5}, "status": "ok"})
    log.end("attempt", "a", attempt, node, "ok", {"latency_ms": 1.0})
    log.put("a->Rookery", node, f"{name}.{number}", {"n": number}, None)
    log.end("node", "a", node, log.root, "ok")
    if number % 3 == 0:
        await store.flush()


async def test_each_finds_its_place(stores: Any) -> None:
    log = await begin(stores[0])
    recorders = [Recorder(store=store, name="flow") for store in stores]
    async with asyncio.timeout(HANG_S):
        await asyncio.gather(
            *(
                work(store, recorder, f"w{index}", number, log.root)
                for number in range(10)
                for index, (store, recorder) in enumerate(zip(stores, recorders, strict=True))
            )
        )
        for store in stores:
            await store.flush()
    running = await stores[0].get_trace(T)
    recorders[1].join(T, worker="w1", root=log.root).close("ok")
    await stores[1].flush()
    events, trace = await stores[2].load_events(T), await stores[2].get_trace(T)
    (root,) = await stores[2].load_spans(T)

    assert {name: len(of) for name, of in check(events).items()} == {"caller": 2, "w0": 70, "w1": 71, "w2": 70}
    assert (running.status, trace.status, trace.events) == ("running", "ok", len(events))
    assert (trace.flow, trace.target, trace.input) == ("flow", "x.py", '{"n":0}')
    assert trace.output.startswith('{"n":')
    assert [child.status for child in root.children] == ["ok"] * 30
    assert [(each.kind, each.status) for child in root.children for each in child.children] == [("attempt", "ok")] * 30
    assert len(build_spans(events)) == 1
    assert root.status == "ok"


async def test_calls_of_models_add_up(stores: Any) -> None:
    log = await begin(stores[0])
    for index, store in enumerate(stores):
        recorder = Recorder(store=store)
        for number in range(3):
            await work(store, recorder, f"w{index}", number, log.root)
    for store in stores:
        await store.flush()

    assert (await stores[0].get_trace(T)).llm_calls == 9


async def test_a_trace_goes_on_in_another_epoch(stores: Any) -> None:
    log = await begin(stores[0])
    log.close("error", {"error": {"message": "no", "code": "X"}})
    await stores[0].flush()
    failed = await stores[1].get_trace(T)
    again = Recorder(store=stores[1]).begin_shared(T, worker="other", epoch=1)
    await stores[1].flush()
    running = await stores[2].get_trace(T)
    joined = Recorder(store=stores[2]).join(T, worker="w", root=again.root, epoch=1)
    joined.end("node", "a", joined.start("node", "a", joined.root), joined.root, "ok")
    await stores[2].flush()
    again.close("ok")
    await stores[1].flush()
    events, trace = await stores[0].load_events(T), await stores[0].get_trace(T)
    spans = await stores[0].load_spans(T)

    check(events)
    assert (failed.status, failed.error) == ("error", "X: no")
    assert (running.status, running.epoch, running.ended, running.error) == ("running", 1, None, None)
    assert (trace.status, trace.epoch, trace.error) == ("ok", 1, None)
    assert [(root.status, root.epoch, len(root.children)) for root in spans] == [("error", 0, 0), ("ok", 1, 1)]


async def test_what_a_dead_worker_left_open_is_ended_by_another(stores: Any) -> None:
    log = await begin(stores[0])
    dead = Recorder(store=stores[1]).join(T, worker="dead", root=log.root)
    node = dead.start("node", "a", dead.root, {"message_id": "m0"})
    dead.start("attempt", "a", node, {"attempt": 0})
    await stores[1].flush()

    recorder = Recorder(store=stores[2])
    heir = recorder.join(T, worker="heir", root=log.root)
    assert await recorder.end_left_open(heir, "m0", "a") == 2
    assert await recorder.end_left_open(heir, "m0", "a") == 0
    other = heir.start("node", "a", heir.root, {"message_id": "m0"})
    heir.end("node", "a", other, heir.root, "ok")
    await stores[2].flush()
    dead.end("node", "a", node, dead.root, "ok")
    await stores[1].flush()
    (root,) = await stores[0].load_spans(T)

    assert await recorder.end_left_open(heir, "m0", "a") == 0
    assert [each.status for each in root.children] == ["interrupted", "ok"]
    assert [each.status for each in root.children[0].children] == ["interrupted"]
    assert [each.status for each in build_spans(await stores[0].load_events(T))[0].children] == ["interrupted", "ok"]


async def test_what_comes_after_the_trace_was_removed_brings_nothing_back(stores: Any) -> None:
    log = await begin(stores[0])
    late = Recorder(store=stores[1]).join(T, worker="w", root=log.root)
    span = late.start("node", "a", late.root)
    await stores[1].flush()
    log.close("ok")
    await stores[0].flush()
    assert (await stores[2].prune(Retention(max_traces=0))).traces == 1
    late.end("node", "a", span, late.root, "ok")
    await stores[1].flush()

    assert await stores[0].get_trace(T) is None
    assert await stores[0].load_events(T) == []


async def test_a_follower_sees_what_all_write(stores: Any) -> None:
    log = await begin(stores[0])
    followed: list[TraceEvent] = []

    async def follow() -> None:
        async for event in stores[2].follow(T):
            followed.append(event)

    following = asyncio.create_task(follow())
    recorders = [Recorder(store=store) for store in stores]
    for number in range(4):
        for index, recorder in enumerate(recorders):
            await work(stores[index], recorder, f"w{index}", number, log.root)
    for store in stores:
        await store.flush()
    recorders[2].join(T, worker="w2", root=log.root).close("ok")
    await stores[2].flush()
    await asyncio.wait_for(following, HANG_S)

    assert followed == await stores[0].load_events(T)


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_writers_comes_out_right(stores: Any, seed: int) -> None:
    choose = random.Random(seed)
    log = await begin(stores[0])
    recorders = [Recorder(store=store) for store in stores]
    open_spans: list[tuple[Any, str, str]] = []
    for _ in range(120):
        index = choose.randrange(3)
        act = choose.random()
        if act < 0.4 or not open_spans:
            joined = recorders[index].join(T, worker=f"w{index}", root=log.root)
            open_spans.append((joined, joined.start("node", "n", joined.root, {"message_id": "m"}), joined.root))
        elif act < 0.7:
            joined, span, _ = choose.choice(open_spans)
            joined.event("stall", "n", span, {"text": "x" * choose.choice([1, 100, 20_000])})
        elif act < 0.9:
            joined, span, parent = open_spans.pop(choose.randrange(len(open_spans)))
            joined.end("node", "n", span, parent, "ok")
        else:
            await stores[index].flush()
    for joined, span, parent in open_spans:
        joined.end("node", "n", span, parent, "ok")
    for store in stores:
        await store.flush()
    events = await stores[0].load_events(T)

    check(events)
    assert {span.status for span in build_spans(events)[0].children} == {"ok"}


BEGIN = """
    import asyncio, sys
    from penguiflow.recording import Recorder
    from penguiflow.state import PostgresStateStore, SQLiteStateStore

    async def main():
        place = sys.argv[1]
        store = PostgresStateStore(place) if "://" in place else SQLiteStateStore(place)
        log = Recorder(store=store).begin_shared("trace", worker="caller")
        log.start("node", "a", log.root, {"message_id": "m"})
        await store.flush()
        print("begun", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


async def test_it_goes_on_when_the_one_who_began_it_has_died(open_store: Any) -> None:
    store = open_store()
    address = getattr(store, "_address", None)
    place = str(store.path) if address is None else f"{address.dsn}&schema={address.schema}"
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(BEGIN), place, stdout=pipe)
    assert child.stdout is not None
    try:
        assert await asyncio.wait_for(child.stdout.readline(), HANG_S) == b"begun\n"
    finally:
        child.kill()
        await child.wait()
    reader = open_store()

    assert await store.recover({"pid": child.pid}) == []
    assert (await reader.get_trace(T)).status == "running"
    assert (await store.prune(Retention(max_traces=0))).traces == 0
    recorder = Recorder(store=store)
    log = recorder.join(T, worker="w")
    assert await recorder.end_left_open(log, "m", "a") == 1
    log.close("ok")
    await store.flush()
    (root,) = await reader.load_spans(T)
    assert (await reader.get_trace(T)).status == "ok"
    assert [span.status for span in root.children] == ["interrupted"]
