"""Who is told of what: middlewares, the logger, an event store; and that their failures stay theirs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowEvent, Message, create, log_flow_events
from penguiflow.metrics import StoredEvent

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, Start, Until


async def fails(message: Any, ctx: Context) -> None:
    raise ValueError("no luck")


async def test_the_events_of_a_run_in_order(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog
) -> None:
    first, second = make_node(name="first"), make_node(name="second")
    flow = start(create(first.to(second), queue_maxsize=7, middlewares=[event_log]))
    await flow.call(make_message("x", trace_id="t"))
    seen = [(event.event_type, event.node_name) for event in event_log.events]
    assert seen == [
        ("node_start", "first"),
        ("node_success", "first"),
        ("node_start", "second"),
        ("node_success", "second"),
    ]
    for event, node in zip(event_log.events, (first, first, second, second), strict=True):
        assert (event.node_id, event.trace_id, event.attempt, event.queue_maxsize) == (node.node_id, "t", 0, 7)
        assert (event.trace_inflight, event.trace_cancelled, event.outgoing_edges) == (1, False, 1)
        assert event.trace_pending is not None
        assert event.trace_pending >= 1
    starts, successes = event_log.of_type("node_start"), event_log.of_type("node_success")
    assert [event.latency_ms for event in starts] == [0.0, 0.0]
    assert all(event.latency_ms is not None and event.latency_ms >= 0 for event in successes)
    assert [event.ts for event in event_log.events] == sorted(event.ts for event in event_log.events)


async def test_bare_payloads_have_events_without_a_trace(
    start: Start, make_node: MakeNode, event_log: EventLog
) -> None:
    flow = start(create(make_node().to(), middlewares=[event_log]))
    await flow.emit("x")
    await flow.fetch()
    assert event_log.types == ["node_start", "node_success"]
    assert {(event.trace_id, event.trace_pending, event.trace_inflight) for event in event_log.events} == {
        (None, None, 0)
    }


async def test_the_latency_of_a_success_includes_the_wait_for_room(
    start: Start, make_node: MakeNode, event_log: EventLog, until: Until
) -> None:
    flow = start(create(make_node().to(), queue_maxsize=1, middlewares=[event_log]))
    await flow.emit(1)
    await flow.emit(2)
    await until(lambda: len(event_log.of_type("node_start")) == 2)
    # This is the wait that the latency has to show.
    await asyncio.sleep(0.02)
    assert len(event_log.of_type("node_success")) == 1
    await flow.fetch()
    await until(lambda: len(event_log.of_type("node_success")) == 2)
    latency = event_log.of_type("node_success")[1].latency_ms
    assert latency is not None
    assert latency >= 15


async def test_middlewares_are_told_in_order_and_one_can_be_added_later(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    told: list[str] = []

    def listener(name: str) -> Any:
        async def listen(event: FlowEvent) -> None:
            await asyncio.sleep(0)
            told.append(f"{name} {event.event_type}")

        return listen

    flow = start(create(make_node().to(), middlewares=[listener("a")]))
    flow.add_middleware(listener("b"))
    await flow.call(make_message("x"))
    assert told == ["a node_start", "b node_start", "a node_success", "b node_success"]


async def test_a_listener_that_comes_later_is_told_from_then_on(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="penguiflow.core")
    flow = start(create(make_node().to()))
    await flow.call(make_message("x"))
    flow.add_middleware(event_log)
    await flow.call(make_message("x"))
    assert event_log.types == ["node_start", "node_success"]


async def test_a_failing_middleware_is_reported_and_passed_over(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    event_log: EventLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(event: FlowEvent) -> None:
        raise RuntimeError("listener")

    caplog.set_level(logging.ERROR, logger="penguiflow.core")
    node = make_node(name="node")
    flow = start(create(node.to(), middlewares=[broken, event_log]))
    assert (await flow.call(make_message("x", trace_id="t"))).payload == "x"
    assert event_log.types == ["node_start", "node_success"]
    reports = [record for record in caplog.records if record.name == "penguiflow.core"]
    assert [record.message for record in reports] == ["middleware_error"] * 2
    for record in reports:
        assert record.__dict__["event"] == "middleware_error"
        assert (record.__dict__["node_name"], record.__dict__["node_id"]) == ("node", node.node_id)
        assert record.__dict__["exception"] == "RuntimeError('listener')"


async def test_the_logger_has_the_event_as_an_attribute(
    start: Start, make_node: MakeNode, make_message: MakeMessage, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    caplog.set_level(logging.DEBUG, logger="penguiflow.core")
    good, bad = make_node(name="good"), make_node(fails, name="bad", max_retries=1, backoff_base=0)
    late = make_node(slow, name="late", timeout_s=0.005)
    flow = start(create(good.to(), bad.to(), late.to(), emit_errors_to_rookery=True))
    await flow.call(make_message("x", trace_id="t"))
    by_node: dict[str, list[tuple[str, int, bool]]] = {"good": [], "bad": [], "late": []}
    for record in caplog.records:
        if record.name == "penguiflow.core":
            attributes = record.__dict__
            assert attributes["event"] == record.message
            assert attributes["trace_id"] == "t"
            assert {"latency_ms", "q_depth_in", "q_depth_total", "attempt"} <= attributes.keys()
            by_node[attributes["node_name"]].append((record.message, record.levelno, record.exc_info is not None))
    start_, retry = ("node_start", logging.DEBUG, False), ("node_retry", logging.INFO, False)
    error, failed = ("node_error", logging.ERROR, True), ("node_failed", logging.ERROR, True)
    assert by_node == {
        "good": [start_, ("node_success", logging.INFO, False)],
        "bad": [start_, error, retry, start_, error, failed],
        "late": [start_, ("node_timeout", logging.WARNING, True), failed],
    }


class EventStore:
    """A store that takes flow events, and fails on demand."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.events: list[StoredEvent] = []

    async def save_event(self, event: StoredEvent) -> None:
        if self.broken:
            raise OSError("disk full")
        self.events.append(event)


@pytest.mark.parametrize("at_run", [False, True])
async def test_a_store_gets_the_events(
    start: Start, make_node: MakeNode, make_message: MakeMessage, at_run: bool
) -> None:
    store = EventStore()
    node = make_node(name="node")
    flow = create(node.to()) if at_run else create(node.to(), state_store=store)
    start(flow, **({"state_store": store} if at_run else {}))
    await flow.call(make_message("x", trace_id="t"))
    assert [(event.kind, event.trace_id, event.node_name) for event in store.events] == [
        ("node_start", "t", "node"),
        ("node_success", "t", "node"),
    ]
    assert store.events[0].node_id == node.node_id
    assert store.events[0].payload["event"] == "node_start"


async def test_a_failing_store_is_reported_and_passed_over(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    event_log: EventLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    flow = start(create(make_node().to(), state_store=EventStore(broken=True), middlewares=[event_log]))
    assert (await flow.call(make_message("x", trace_id="t"))).payload == "x"
    assert len(event_log.events) == 2
    reports = [record.__dict__ for record in caplog.records if record.message == "state_store_save_failed"]
    assert [(report["event"], report["kind"], report["trace_id"]) for report in reports] == [
        ("state_store_save_failed", kind, "t") for kind in ("node_start", "node_success")
    ]
    assert reports[0]["exception"] == "OSError('disk full')"


async def test_a_store_with_a_recorder_is_asked_for_it(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: Any
) -> None:
    class Store:
        def recorder(self) -> Any:
            return recorder

    flow = start(create(make_node().to(), state_store=Store()))
    await flow.call(make_message("x", trace_id="t"))
    assert recorder.only().trace_id == "t"
    recorder.check()


async def test_log_flow_events_logs_three_kinds(
    start: Start, make_node: MakeNode, make_message: MakeMessage, caplog: pytest.LogCaptureFixture
) -> None:
    latencies: list[tuple[str, float]] = []
    target = logging.getLogger("tests.flow")
    caplog.set_level(logging.DEBUG, logger="tests.flow")
    listen = log_flow_events(
        target,
        start_level=logging.DEBUG,
        error_level=logging.CRITICAL,
        latency_callback=lambda kind, latency_ms, event: latencies.append((kind, latency_ms)),
    )
    failing = make_node(fails, max_retries=1, backoff_base=0)
    flow = start(create(make_node().to(), failing.to(), middlewares=[listen], emit_errors_to_rookery=True))
    await flow.call(make_message("x"))
    levels = [(record.message, record.levelno) for record in caplog.records if record.name == "tests.flow"]
    assert sorted(levels) == [
        ("node_error", logging.CRITICAL),
        ("node_error", logging.CRITICAL),
        ("node_start", logging.DEBUG),
        ("node_start", logging.DEBUG),
        ("node_start", logging.DEBUG),
        ("node_success", logging.INFO),
    ]
    assert sorted(kind for kind, _ in latencies) == ["node_error", "node_error", "node_success"]
    assert all(latency_ms >= 0 for _, latency_ms in latencies)


async def test_log_flow_events_survives_its_callback(
    start: Start, make_node: MakeNode, make_message: MakeMessage, caplog: pytest.LogCaptureFixture
) -> None:
    def callback(kind: str, latency_ms: float, event: FlowEvent) -> None:
        raise RuntimeError("callback")

    flow = start(create(make_node().to(), middlewares=[log_flow_events(latency_callback=callback)]))
    assert (await flow.call(make_message("x"))).payload == "x"
    failures = [record for record in caplog.records if record.message == "log_flow_events_latency_callback_error"]
    assert [record.name for record in failures] == ["penguiflow.flow"]
