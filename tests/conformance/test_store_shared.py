"""What every store promises to workers that share it."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow.state import InMemoryStateStore, PostgresStateStore, Retention, SQLiteStateStore
from penguiflow.state.shared import SharedChange, SupportsSharedState, WorkerRow

T = "trace"
HANG_S = 120.0
Open = Callable[[], Any]

ADD = """
    import asyncio, sys
    from penguiflow.state import PostgresStateStore, SQLiteStateStore
    from penguiflow.state.shared import SharedChange

    async def main():
        place, name = sys.argv[1:]
        store = PostgresStateStore(place) if "://" in place else SQLiteStateStore(place)
        await store.load_shared("t0")
        print("ready", flush=True)
        sys.stdin.readline()
        won = 0
        for number in range(40):
            changes = [SharedChange(trace_id=f"t{each % 3}", add={"n": 1}) for each in range(number, number + 3)]
            changes.append(SharedChange(trace_id="t1", handled=f"m{number}", put={"row": name.encode()}))
            *_, last = await store.commit_shared(*changes)
            won += last.done
        await store.close()
        print(won, flush=True)

    asyncio.run(main())
"""


def change(trace_id: str = T, **what: Any) -> SharedChange:
    return SharedChange(trace_id=trace_id, **what)


def worker(worker_id: str, **about: Any) -> WorkerRow:
    values: dict[str, Any] = {"flow": "f", "host": "h", "pid": 1, "nodes": ["a", "b"], "started_at": 10.0}
    values |= {"seen_at": 0.0, "alive": True, "state": "running", **about}
    return WorkerRow(worker_id, **values)


async def commit(store: SupportsSharedState, trace_id: str = T, **what: Any) -> Any:
    (outcome,) = await store.commit_shared(change(trace_id, **what))
    return outcome


def place_of(store: Any) -> str:
    """What another process opens the same store by."""
    if isinstance(store, PostgresStateStore):
        return f"{store._address.dsn}&schema={store._address.schema}"
    return str(store.path)


async def start(script: str, *arguments: str) -> Any:
    """A Python process that runs a script and is spoken to."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)


class TestRows:
    async def test_of_an_unknown_trace_there_is_nothing(self, store: Any) -> None:
        memory = await store.load_shared(T, ["a"], "m")

        assert isinstance(store, SupportsSharedState)
        assert (dict(memory.rows), dict(memory.counters)) == ({}, {})
        assert (memory.handled, memory.ended, memory.cancelled) == (False, None, None)

    async def test_what_was_put_is_found_with_a_version(self, store: Any) -> None:
        done = await commit(store, put={"a": b'{"n":1}', "b": b"[]"}, expect={"a": 0})
        memory = await store.load_shared(T, ["a", "c"])

        assert (done.done, done.repeat, list(done.stale), done.ended) == (True, False, [], False)
        assert {scope: row.value for scope, row in memory.rows.items()} == {"a": b'{"n":1}'}
        assert memory.rows["a"].version > 0

    async def test_one_that_others_changed_is_left_alone(self, store: Any) -> None:
        await commit(store, put={"a": b"1"})
        version = (await store.load_shared(T, ["a"])).rows["a"].version
        await commit(store, put={"a": b"2"}, expect={"a": version})

        lost = await commit(store, put={"a": b"3", "b": b"3"}, add={"n": 1}, handled="m", expect={"a": version, "b": 0})
        memory = await store.load_shared(T, ["a", "b"], "m")

        assert (lost.done, lost.repeat, list(lost.stale)) == (False, False, ["a"])
        assert {scope: row.value for scope, row in memory.rows.items()} == {"a": b"2"}
        assert (dict(memory.counters), memory.handled) == ({}, False)

    async def test_one_that_was_removed_and_comes_again_is_another(self, store: Any) -> None:
        await commit(store, put={"a": b"1"})
        version = (await store.load_shared(T, ["a"])).rows["a"].version
        await commit(store, put={"a": None}, expect={"a": version})
        gone = await store.load_shared(T, ["a"])
        await commit(store, put={"a": b"1"}, expect={"a": 0})

        assert dict(gone.rows) == {}
        assert list((await commit(store, put={"a": b"2"}, expect={"a": version})).stale) == ["a"]

    async def test_a_missing_one_is_expected_in_vain(self, store: Any) -> None:
        assert list((await commit(store, expect={"a": 4}, put={"b": b"1"})).stale) == ["a"]
        assert (await commit(store, expect={"a": 0})).done

    async def test_values_and_names_are_any(self, store: Any) -> None:
        value = b'"\\u0000 \xc3\xbc"' + b"x" * 100_000
        await commit(store, "t\0ü", put={"n\0ö": value}, handled="m\0ä", add={"c\0": 2**40})
        memory = await store.load_shared("t\0ü", ["n\0ö"], "m\0ä")

        assert memory.rows["n\0ö"].value == value
        assert (memory.handled, dict(memory.counters)) == (True, {"c\0": 2**40})


class TestChanges:
    async def test_a_message_is_handled_once(self, store: Any) -> None:
        first = await commit(store, handled="n:1", add={"pending": 2}, put={"n": b"1"})
        second = await commit(store, handled="n:1", add={"pending": 2}, put={"n": b"2"})
        memory = await store.load_shared(T, ["n"], "n:1")

        assert (first.done, first.repeat, second.done, second.repeat) == (True, False, False, True)
        assert (dict(second.counters), memory.rows["n"].value, memory.handled) == ({"pending": 2}, b"1", True)
        assert not (await store.load_shared(T, [], "n:2")).handled

    async def test_a_repeat_is_told_from_what_is_stale(self, store: Any) -> None:
        await commit(store, handled="m", put={"a": b"1"}, expect={"a": 0})

        assert (await commit(store, handled="m", put={"a": b"1"}, expect={"a": 0})).repeat

    async def test_several_in_one_commit_each_stand_alone(self, store: Any) -> None:
        outcomes = await store.commit_shared(
            change(put={"a": b"1"}, handled="1", add={"n": 1}),
            change(put={"a": b"2"}, expect={"a": 0}, add={"n": 1}),
            change("other", add={"n": 5}),
            change(handled="1", add={"n": 1}),
            change(add={"n": 1}),
        )
        memory = await store.load_shared(T, ["a"])

        assert [each.done for each in outcomes] == [True, False, True, False, True]
        assert [dict(each.counters) for each in outcomes] == [{"n": 1}, {"n": 1}, {"n": 5}, {"n": 1}, {"n": 2}]
        assert (memory.rows["a"].value, dict(memory.counters)) == (b"1", {"n": 2})
        assert await store.commit_shared() == []

    async def test_nobody_s_addition_is_lost(self, store: Any) -> None:
        outcomes = await asyncio.gather(*(commit(store, add={"n": 1, f"n{each % 3}": 2}) for each in range(60)))

        assert sorted(dict(each.counters)["n"] for each in outcomes) == list(range(1, 61))
        assert dict((await store.load_shared(T)).counters) == {"n": 60, "n0": 40, "n1": 40, "n2": 40}

    async def test_of_those_who_saw_the_same_one_wins(self, store: Any) -> None:
        outcomes = await asyncio.gather(
            *(commit(store, put={"a": b"%d" % each}, expect={"a": 0}) for each in range(20))
        )

        assert sum(each.done for each in outcomes) == 1


class TestEnd:
    async def test_one_ends_a_trace(self, store: Any) -> None:
        outcomes = await asyncio.gather(*(commit(store, end="error") for _ in range(10)))

        assert sorted(each.ended for each in outcomes) == [False] * 9 + [True]
        assert (await store.load_shared(T)).ended == "error"

    async def test_what_comes_after_the_end_is_not_made(self, store: Any) -> None:
        await commit(store, handled="m", put={"a": b"1"}, add={"n": 1}, end="ok")
        late = await commit(store, put={"a": b"2"}, add={"n": 1}, end="error")
        memory = await store.load_shared(T, ["a"], "m")

        assert (late.done, late.repeat, list(late.stale), late.ended) == (False, False, [], False)
        assert (memory.ended, memory.rows["a"].value, dict(memory.counters)) == ("ok", b"1", {"n": 1})
        assert (await commit(store, handled="m")).repeat

    async def test_at_zero_the_last_one_ends_it(self, store: Any) -> None:
        await commit(store, add={"pending": 10})
        outcomes = await asyncio.gather(
            *(commit(store, handled=f"{each}", add={"pending": -1}, end_at_zero="ok") for each in range(10))
        )

        assert sum(each.ended for each in outcomes) == 1
        assert all(each.done for each in outcomes)
        assert next(dict(each.counters) for each in outcomes if each.ended) == {"pending": 0}

    async def test_one_counter_at_zero_is_not_all(self, store: Any) -> None:
        first = await commit(store, add={"pending": 1, "ids": 7}, end_at_zero="ok")
        second = await commit(store, add={"pending": -1, "ids": -3}, end_at_zero="ok")
        below = await commit(store, add={"ids": -5}, end_at_zero="ok")
        last = await commit(store, add={"ids": 1}, end_at_zero="ok")

        assert [each.ended for each in (first, second, below, last)] == [False, False, False, True]

    async def test_a_repeat_does_not_end_it(self, store: Any) -> None:
        await commit(store, add={"pending": 2})
        await commit(store, handled="m", add={"pending": -1}, end_at_zero="ok")

        assert not (await commit(store, handled="m", add={"pending": -1}, end_at_zero="ok")).ended
        assert (await store.load_shared(T)).ended is None

    async def test_what_is_forgotten_stays_ended(self, store: Any) -> None:
        await commit(store, "over", handled="m", put={"a": b"1"}, add={"n": 1}, end="ok")
        await commit(store, "going", handled="m", put={"a": b"1"}, add={"n": 1})

        assert await store.forget_shared(older_than_s=3600) == 0
        assert await store.forget_shared(older_than_s=-10) == 1
        assert await store.forget_shared(older_than_s=-10) == 0
        over, going = [await store.load_shared(each, ["a"], "m") for each in ("over", "going")]
        assert (dict(over.rows), dict(over.counters), over.handled, over.ended) == ({}, {}, False, "ok")
        assert (len(going.rows), dict(going.counters), going.handled) == (1, {"n": 1}, True)
        late = await commit(store, "over", put={"a": b"2"})
        assert not late.done
        assert dict((await store.load_shared("over", ["a"])).rows) == {}


class TestCancelling:
    async def test_is_told_once_with_its_reason(self, store: Any) -> None:
        await commit(store, add={"n": 1})

        assert await store.cancel_shared(T, "the user left")
        assert not await store.cancel_shared(T, "again")
        assert (await store.load_shared(T)).cancelled == "the user left"
        assert await store.cancelled_of([T, "other"]) == {T: "the user left"}
        assert await store.cancelled_of([]) == {}

    async def test_of_what_has_ended_is_none(self, store: Any) -> None:
        await commit(store, end="ok")

        assert not await store.cancel_shared(T, "late")
        assert await store.cancelled_of([T]) == {}

    async def test_may_come_first_and_leaves_the_rest_to_workers(self, store: Any) -> None:
        assert await store.cancel_shared(T, "at once")
        assert (await commit(store, add={"n": 1}, end="cancelled")).ended
        assert await store.cancelled_of([T]) == {T: "at once"}


class TestWorkers:
    async def test_are_listed_oldest_first(self, store: Any) -> None:
        await store.save_worker(worker("w2", started_at=20.0, about={"slots": 4, "done": {"a": 1}}))
        await store.save_worker(worker("w1"))
        await store.save_worker(worker("w3", flow="other", started_at=30.0))
        await store.save_worker(worker("w2", started_at=20.0, state="draining", about={"slots": 2}))
        found = await store.list_workers()

        assert [each.worker_id for each in found] == ["w1", "w2", "w3"]
        assert [each.worker_id for each in await store.list_workers("f")] == ["w1", "w2"]
        second = found[1]
        assert (second.flow, second.host, second.pid, list(second.nodes)) == ("f", "h", 1, ["a", "b"])
        assert (second.state, dict(second.about), second.alive) == ("draining", {"slots": 2}, True)
        assert second.seen_at > 0

    async def test_one_that_ended_or_was_silent_is_gone(self, store: Any) -> None:
        await store.save_worker(worker("w1"))
        await store.save_worker(worker("w2", state="ended"))

        assert [each.alive for each in await store.list_workers()] == [True, False]
        assert [each.alive for each in await store.list_workers(heartbeat_s=-1.0)] == [False, False]


class TestSeveralConnections:
    async def test_nothing_is_lost_or_done_twice(self, open_store: Open) -> None:
        stores = [open_store() for _ in range(4)]

        async def work(store: Any, number: int) -> int:
            done = 0
            for turn in range(25):
                names = [f"t{(number + turn + each) % 5}" for each in range(3)]
                outcomes = await store.commit_shared(
                    *(change(name, add={"n": 1}) for name in names), change(handled=f"m{turn}", add={"once": 1})
                )
                assert all(each.done for each in outcomes[:3])
                done += outcomes[-1].done
            return done

        async with asyncio.timeout(HANG_S):
            done = await asyncio.gather(*(work(store, number) for number, store in enumerate(stores) for _ in range(2)))
        found = [dict((await stores[0].load_shared(f"t{each}")).counters) for each in range(5)]

        assert sum(done) == 25
        assert sum(each["n"] for each in found) == 8 * 25 * 3
        assert dict((await stores[1].load_shared(T)).counters) == {"once": 25}

    async def test_who_compares_and_loses_reads_again(self, open_store: Open) -> None:
        stores = [open_store() for _ in range(3)]

        async def count(store: Any) -> None:
            for _ in range(8):
                while True:
                    row = (await store.load_shared(T, ["n"])).rows.get("n")
                    version, value = (0, 0) if row is None else (row.version, int(row.value))
                    if (await commit(store, put={"n": b"%d" % (value + 1)}, expect={"n": version})).done:
                        break

        async with asyncio.timeout(HANG_S):
            await asyncio.gather(*(count(store) for store in stores))
        assert (await stores[0].load_shared(T, ["n"])).rows["n"].value == b"24"

    async def test_processes_add_up(self, open_store: Open) -> None:
        store = open_store()
        await commit(store, add={"n": 0})
        children = [await start(ADD, place_of(store), name) for name in ("a", "b", "c")]
        try:
            async with asyncio.timeout(HANG_S):
                for child in children:
                    assert await child.stdout.readline() == b"ready\n"
                told = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
        finally:
            for child in children:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
        found = [await store.load_shared(f"t{each}", ["row"]) for each in range(3)]

        assert sum(int(out) for out, _ in told) == 40
        assert sum(dict(each.counters)["n"] for each in found) == 3 * 40 * 3
        assert found[1].rows["row"].value in (b"a", b"b", b"c")

    async def test_what_was_remembered_goes_with_its_trace(self, open_store: Open, record: Any) -> None:
        store = open_store()
        record(store, T)
        await commit(store, put={"a": b"1"}, handled="m", end="ok")
        await store.flush()
        await store.prune(Retention(max_traces=0))
        memory = await store.load_shared(T, ["a"], "m")

        assert (dict(memory.rows), memory.handled, memory.ended) == ({}, False, None)

    async def test_others_see_what_was_told(self, open_store: Open) -> None:
        ours, theirs = open_store(), open_store()
        await ours.save_worker(worker("w"))
        await ours.commit_shared(change(put={"a": b"1"}))

        assert [each.worker_id for each in await theirs.list_workers()] == ["w"]
        assert (await theirs.load_shared(T, ["a"])).rows["a"].value == b"1"
        assert await theirs.cancel_shared(T, "why")
        assert await ours.cancelled_of([T]) == {T: "why"}


_names = st.sampled_from(["a", "b"])
_changes = st.builds(
    lambda trace, handled, expect, put, add, end, zero: SharedChange(
        trace_id=trace, handled=handled, expect=expect, put=put, add=add, end=end, end_at_zero=zero
    ),
    st.sampled_from(["t1", "t2"]),
    st.none() | st.sampled_from(["m1", "m2", "m3"]),
    st.dictionaries(_names, st.integers(0, 3), max_size=1),
    st.dictionaries(_names, st.none() | st.sampled_from([b"1", b"2"]), max_size=2),
    st.dictionaries(st.sampled_from(["pending", "n"]), st.integers(-2, 2), max_size=2),
    st.sampled_from([None, None, None, None, "error"]),
    st.sampled_from([None, None, "ok"]),
)
_steps = st.one_of(
    st.lists(_changes, min_size=1, max_size=4),
    st.tuples(st.just("cancel"), st.sampled_from(["t1", "t2"])),
    st.just("forget"),
)


class Model:
    """The promises, written once more, for one trace."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, bytes]] = {}
        self.counters: dict[str, int] = {}
        self.handled: set[str] = set()
        self.version = 0
        self.ended: str | None = None
        self.cancelled: str | None = None

    def make(self, change: SharedChange) -> tuple[bool, bool, list[str], bool]:
        if change.handled in self.handled:
            return False, True, [], False
        if self.ended:
            return False, False, [], False
        stale = [name for name, version in change.expect.items() if self.rows.get(name, (0, b""))[0] != version]
        if stale:
            return False, False, stale, False
        if change.handled is not None:
            self.handled.add(change.handled)
        for name, value in change.put.items():
            self.rows.pop(name, None)
            if value is not None:
                self.version += 1
                self.rows[name] = (self.version, value)
        for name, amount in change.add.items():
            self.counters[name] = self.counters.get(name, 0) + amount
        at_zero = None if any(self.counters.values()) else change.end_at_zero
        self.ended = change.end or at_zero
        return True, False, [], self.ended is not None


@pytest.mark.parametrize("backend", ["memory", "sqlite", "postgres"])
def test_any_sequence_comes_out_as_the_model_says(backend: str, tmp_path: Any, request: pytest.FixtureRequest) -> None:
    numbers = iter(range(10**6))
    if backend == "postgres":
        url = request.getfixturevalue("postgres_server").fresh_url()

    def opened() -> Any:
        if backend == "memory":
            return InMemoryStateStore()
        return PostgresStateStore(url) if backend == "postgres" else SQLiteStateStore(tmp_path / "state.db")

    @settings(max_examples=50 if backend == "memory" else 10)
    @given(st.lists(_steps, max_size=12))
    def run(steps: Any) -> None:
        asyncio.run(follow(opened(), steps, f"{next(numbers)}"))

    run()


async def follow(store: Any, steps: Any, prefix: str) -> None:
    models: dict[str, Model] = {"t1": Model(), "t2": Model()}
    try:
        for step in steps:
            if step == "forget":
                await store.forget_shared(older_than_s=-10)
                for model in models.values():
                    if model.ended:
                        model.rows, model.counters, model.handled = {}, {}, set()
            elif step[0] == "cancel":
                model = models[step[1]]
                may = model.ended is None and model.cancelled is None
                assert await store.cancel_shared(prefix + step[1], "why") == may
                if may:
                    model.cancelled = "why"
            else:
                await make(store, step, models, prefix)
            for name, model in models.items():
                memory = await store.load_shared(prefix + name, ["a", "b"], "m1")
                rows = {scope: (row.version, row.value) for scope, row in memory.rows.items()}
                assert (rows, dict(memory.counters)) == (model.rows, model.counters)
                assert memory.handled == ("m1" in model.handled)
                assert (memory.ended, memory.cancelled) == (model.ended, model.cancelled)
    finally:
        await store.close()


async def make(store: Any, changes: list[SharedChange], models: dict[str, Model], prefix: str) -> None:
    outcomes = await store.commit_shared(*(replace(each, trace_id=prefix + each.trace_id) for each in changes))
    for each, outcome in zip(changes, outcomes, strict=True):
        told = (outcome.done, outcome.repeat, list(outcome.stale), outcome.ended)
        model = models[each.trace_id]
        assert told == model.make(each)
        assert dict(outcome.counters) == model.counters
