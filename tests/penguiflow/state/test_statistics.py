"""Numbers over runs: they are right, they are worked out once, and nothing in the way of keeping them changes them."""

from __future__ import annotations

import itertools
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penguiflow.recording.events import EventRecord
from penguiflow.state import SQLiteStateStore
from penguiflow.state.derived import derived_path, open_derived
from penguiflow.state.statistics import FlowStatistics, StatisticsQuery
from penguiflow.state.tallies import bucket_of, middle_of, percentile_ns

MS = 1_000_000
SECOND = 1_000 * MS


class Trace:
    """Writes the events of one trace, at the times that it is told."""

    def __init__(self, store: SQLiteStateStore, trace_id: str, *, flow: str = "f", started: float = 1000.0) -> None:
        self.sink, self.trace_id, self.started = store.sink, trace_id, started
        self.seq = itertools.count()
        self.write("r", None, 0, "trace.start", flow, b'{"flow":"%b"}' % flow.encode())

    def write(self, span: str, parent: str | None, at_ns: int, kind: str, name: str, data: bytes = b"{}") -> None:
        ts = self.started + at_ns / SECOND
        self.sink.write(EventRecord(next(self.seq), 0, self.trace_id, span, parent, ts, at_ns, kind, name, data))

    def span(
        self, kind: str, name: str, ns: int, *, at: int = 0, status: str = "ok", more: bytes = b"", key: str = "s"
    ) -> None:
        self.write(key, "r", at, f"{kind}.start", name)
        self.write(key, "r", at + ns, f"{kind}.end", name, b'{"status":"%b"%b}' % (status.encode(), more))

    def end(self, ns: int, status: str = "ok") -> None:
        self.write("r", None, ns, "trace.end", "f", b'{"status":"%b"}' % status.encode())


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def of(store: SQLiteStateStore, **query: Any) -> FlowStatistics:
    await store.flush()
    (found,) = await store.statistics(StatisticsQuery(**query))
    return found


async def test_runs_and_their_parts_are_counted(open_store: Any) -> None:
    store = open_store()
    for number in range(10):
        trace = Trace(store, f"t{number}", started=1000.0 + number)
        trace.span("node", "ask", 10 * MS * (number + 1), status="error" if number == 9 else "ok")
        usage = b',"usage":{"total_tokens":100},"cost":0.25'
        trace.span("llm", "gpt", 5 * MS, more=usage)
        trace.write("r", None, 5, "node.retry", "ask", b'{"attempt":1}')
        trace.end((number + 1) * SECOND, "error" if number == 9 else "ok")
    Trace(store, "alive", started=2000.0)

    found = await of(store)

    assert (found.flow, found.runs, found.by_status) == ("f", 11, {"error": 1, "ok": 9, "running": 1})
    assert (found.failed, found.error_rate) == (1, 0.1)
    assert found.times_ms is not None
    assert (found.times_ms.p50, found.times_ms.p90, found.times_ms.p99) == (5000.0, 9000.0, 10000.0)
    assert (found.llm_calls, found.tokens, found.cost) == (10, 1000, 2.5)
    assert (found.first, found.last) == (1000.0, 2000.0)
    ask, gpt = found.parts
    assert (ask.kind, ask.name, ask.count, ask.failed, ask.retries) == ("node", "ask", 10, 1, 10)
    assert ask.times_ms.p50 == pytest.approx(50, rel=0.02)
    assert ask.times_ms.max == 100
    assert (gpt.kind, gpt.count, gpt.tokens, gpt.times_ms.mean) == ("llm", 10, 1000, 5.0)
    assert [point.trace_id for point in found.points] == [*(f"t{n}" for n in range(10)), "alive"]
    assert found.points[0].tokens == 100


async def test_retries_belong_to_what_was_tried_again(open_store: Any) -> None:
    store = open_store()
    trace = Trace(store, "one")
    trace.write("t", "r", 0, "tool.start", "fetch")
    trace.write("t", "r", 1, "node.retry", "fetch", b'{"attempt":1}')
    trace.write("t", "r", 2, "tool.end", "fetch", b'{"status":"timeout"}')
    trace.write("r", None, 3, "record", "clock", b'{"latency_ms":2.5,"error":{"message":"x"}}')
    trace.write("r", None, 3, "record", "ctx.now", b'{"latency_ms":0.1}')
    trace.write("o", "r", 3, "node.start", "left open")
    trace.end(SECOND)
    found = {(part.kind, part.name): part for part in (await of(store)).parts}
    assert sorted(found) == [("record", "clock"), ("tool", "fetch")]
    fetch, clock = found["tool", "fetch"], found["record", "clock"]
    assert (fetch.count, fetch.failed, fetch.retries) == (1, 1, 1)
    assert (clock.count, clock.failed, clock.times_ms.max) == (1, 1, 2.5)


async def test_flows_sessions_and_times_are_told_apart(open_store: Any) -> None:
    store = open_store()
    for number in range(4):
        trace = Trace(store, f"t{number}", flow="ab"[number % 2], started=1000.0 + number)
        trace.span("node", "n", MS * (number + 1))
        trace.end(SECOND)
    await store.flush()

    assert [(each.flow, each.runs) for each in await store.statistics()] == [("b", 2), ("a", 2)]
    assert (await of(store, flow="a")).parts[0].times_ms.max == 3
    assert (await of(store, since=1003.0)).runs == 1
    assert (await of(store, before=1001.0)).flow == "a"
    assert (await of(store, limit=1)).points[0].trace_id == "t3"
    assert await store.statistics(StatisticsQuery(flow="other")) == []


async def test_a_trace_is_read_once(open_store: Any) -> None:
    store = open_store()
    Trace(store, "one").end(SECOND)
    seen: list[tuple[int, int]] = []
    await store.flush()
    for _ in range(2):
        await store.statistics(progress=lambda done, total: seen.append((done, total)))
    Trace(store, "two").end(SECOND)
    await store.flush()
    await store.statistics(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 1), (0, 1)]


async def test_a_trace_that_went_on_is_read_again(open_store: Any) -> None:
    store = open_store()
    trace = Trace(store, "one")
    trace.span("node", "n", MS)
    trace.end(SECOND, "interrupted")
    assert (await of(store)).parts[0].count == 1
    trace.write("r", None, SECOND, "trace.start", "f", b'{"flow":"f","resumed":1}')
    trace.span("node", "n", MS, at=SECOND)
    trace.end(2 * SECOND)
    found = await of(store)
    assert (found.by_status, found.parts[0].count) == ({"ok": 1}, 2)


async def test_what_was_removed_is_forgotten(open_store: Any, tmp_path: Path) -> None:
    from penguiflow.state import Retention

    store = open_store()
    for number in range(3):
        trace = Trace(store, f"t{number}", started=1000.0 + number)
        trace.span("node", "n", MS)
        trace.end(SECOND)
    assert (await of(store)).parts[0].count == 3
    await store.prune(Retention(max_traces=1))
    assert (await of(store)).parts[0].count == 1
    Trace(store, "new", started=3000.0).end(SECOND)
    assert (await of(store)).runs == 2
    with closing(open_derived(tmp_path / "state.db")) as connection:
        assert sorted(connection.execute("SELECT trace_id FROM counted")) == [("new",), ("t2",)]
        assert connection.execute("SELECT count(*) FROM counts").fetchone() == (1,)


async def _one(store: SQLiteStateStore) -> None:
    trace = Trace(store, "one")
    trace.span("node", "n", MS)
    trace.end(SECOND)
    await store.flush()


async def test_a_file_that_is_no_database_is_made_anew(open_store: Any, tmp_path: Path) -> None:
    store = open_store()
    await _one(store)
    path = derived_path(tmp_path / "state.db")
    path.write_bytes(b"this is no database" * 100)
    assert (await of(store)).parts[0].count == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM counted").fetchone() == (1,)


async def test_tables_of_another_version_are_made_anew(open_store: Any, tmp_path: Path) -> None:
    store = open_store()
    await _one(store)
    assert (await of(store)).runs == 1
    with closing(sqlite3.connect(derived_path(tmp_path / "state.db"))) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("DROP TABLE counts")
    assert (await of(store)).parts[0].count == 1


async def test_the_database_of_another_program_is_left_alone(open_store: Any, tmp_path: Path) -> None:
    store = open_store()
    await _one(store)
    path = derived_path(tmp_path / "state.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert (await of(store)).parts[0].count == 1
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.execute("SELECT name FROM sqlite_master")) == [("theirs",)]


async def test_where_nothing_can_be_kept_the_numbers_are_the_same(open_store: Any, tmp_path: Path) -> None:
    store = open_store()
    await _one(store)
    derived_path(tmp_path / "state.db").mkdir()
    assert (await of(store)).parts[0].count == 1


async def test_a_store_that_is_not_there_has_no_runs(tmp_path: Path, open_store: Any) -> None:
    store = open_store(read_only=True)
    assert await store.statistics() == []
    assert files_in(tmp_path) == []


def test_percentiles_are_right_to_within_two_percent() -> None:
    chance = random.Random(1)
    times = sorted(int(chance.lognormvariate(15, 3)) for _ in range(5000))
    buckets: dict[int, int] = {}
    for ns in times:
        buckets[bucket_of(ns)] = buckets.get(bucket_of(ns), 0) + 1
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = times[max(0, round(share * len(times)) - 1)]
        assert percentile_ns(buckets, share) == pytest.approx(exact, rel=0.021)
    assert percentile_ns({}, 0.5) is None
    assert middle_of(bucket_of(0)) == 0.0
