"""One node and its failures: errors, retries, timeouts, deadlines, exceptions that are none."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FinalAnswer, FlowError, FlowErrorCode, Headers, Message, create

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, MemoryRecorder, Start, Until


async def test_a_failing_node_is_tried_as_often_as_its_policy_says(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, recorder: MemoryRecorder
) -> None:
    tries: list[int] = []

    async def flaky(message: Message, ctx: Context) -> Message:
        tries.append(len(tries))
        if len(tries) < 3:
            raise ValueError(f"try {len(tries)}")
        return message

    node = make_node(flaky, max_retries=2, backoff_base=0.001, backoff_mult=2.0)
    flow = start(create(node.to(), middlewares=[event_log]), recorder=recorder)
    assert (await flow.call(make_message("x"))).payload == "x"
    assert len(tries) == 3
    assert event_log.types == [
        *("node_start", "node_error", "node_retry"),
        *("node_start", "node_error", "node_retry"),
        *("node_start", "node_success"),
    ]
    assert [event.attempt for event in event_log.events] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [event.extra["sleep_s"] for event in event_log.of_type("node_retry")] == [0.001, 0.002]
    log = recorder.only()
    assert log.status == "ok"
    assert [event.status for event in log.of_kind("attempt.end")] == ["error", "error", "ok"]
    assert [event.data["attempt"] for event in log.of_kind("node.retry")] == [1, 2]
    assert len(log.of_kind("node.start")) == 1
    recorder.check()


async def test_retries_run_out(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, recorder: MemoryRecorder
) -> None:
    async def fails(message: Message, ctx: Context) -> None:
        raise KeyError("gone")

    node = make_node(fails, max_retries=2, backoff_base=0.0)
    flow = start(create(node.to(), middlewares=[event_log]), recorder=recorder)
    with pytest.raises(FlowError) as failure:
        await flow.call(make_message("x", trace_id="t"))
    error = failure.value
    assert error.code == FlowErrorCode.NODE_EXCEPTION
    assert error.message == "Node 'fails' raised KeyError: 'gone'"
    assert error.node_id == node.node_id
    assert error.metadata["attempt"] == 2
    assert error.metadata["exception_repr"] == "KeyError('gone')"
    assert error.metadata["latency_ms"] >= 0
    (failed,) = event_log.of_type("node_failed")
    assert failed.error_payload is not None
    assert dict(failed.error_payload) == error.to_payload()
    assert len(event_log.of_type("node_error")) == 3
    log = recorder.only()
    assert (log.status, log.closing["error"]["code"]) == ("error", "NODE_EXCEPTION")
    assert [event.status for event in log.of_kind("node.end")] == ["error"]
    recorder.check()


@pytest.mark.parametrize("policy", [{"max_retries": -1}, {"timeout_s": math.inf}])
async def test_no_retries_and_no_bound_may_be_written_as_numbers(
    policy: dict[str, Any], start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    tries: list[int] = []

    async def fails(message: Message, ctx: Context) -> None:
        tries.append(1)
        await asyncio.sleep(0)
        raise ValueError("no luck")

    flow = start(create(make_node(fails, **policy).to()))
    with pytest.raises(FlowError, match="no luck"):
        await flow.call(make_message("x"))
    assert tries == [1]


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ({}, [0.5, 1.0, 2.0, 4.0]),
        ({"backoff_base": 0.1, "backoff_mult": 3.0}, [0.1, 0.3, 0.9, 2.7]),
        ({"max_backoff": 1.5}, [0.5, 1.0, 1.5, 1.5]),
        ({"backoff_base": 0.0}, [0.0] * 4),
        ({"backoff_mult": 1.0}, [0.5] * 4),
    ],
)
def test_backoff_grows_up_to_its_bound(make_node: MakeNode, policy: dict[str, Any], waits: list[float]) -> None:
    node = make_node(**policy)
    assert [node.policy.backoff(attempt) for attempt in (1, 2, 3, 4)] == pytest.approx(waits)


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_bounds_one_attempt(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, recorder: MemoryRecorder
) -> None:
    tries: list[int] = []

    async def slow_once(message: Message, ctx: Context) -> Message:
        tries.append(1)
        if len(tries) == 1:
            await asyncio.Event().wait()
        return message

    node = make_node(slow_once, timeout_s=0.01, max_retries=1, backoff_base=0.0)
    flow = start(create(node.to(), middlewares=[event_log]), recorder=recorder)
    assert (await flow.call(make_message("x"))).payload == "x"
    assert event_log.types == ["node_start", "node_timeout", "node_retry", "node_start", "node_success"]
    assert [event.status for event in recorder.only().of_kind("attempt.end")] == ["timeout", "ok"]
    recorder.check()


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_is_taken_back_before_the_next_attempt(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    pending: list[int] = []

    async def slow_once(message: Message, ctx: Context) -> Message:
        task = asyncio.current_task()
        assert task is not None
        pending.append(task.cancelling())
        if len(pending) == 1:
            await asyncio.Event().wait()
        return message

    flow = start(create(make_node(slow_once, timeout_s=0.01, max_retries=1, backoff_base=0.0).to()))
    await flow.call(make_message("x"))
    assert pending == [0, 0]


async def test_the_error_of_a_timeout(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    async def slow(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = start(create(make_node(slow, timeout_s=0.01).to()), recorder=recorder)
    with pytest.raises(FlowError) as failure:
        await flow.call(make_message("x"))
    assert failure.value.code == FlowErrorCode.NODE_TIMEOUT
    assert failure.value.message == "Node 'slow' timed out after 0.01s"
    assert failure.value.metadata["timeout_s"] == 0.01
    assert recorder.only().status == "timeout"
    recorder.check()


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_counts_neither_the_send_nor_the_backoff(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    tries: list[int] = []

    async def flaky(message: Any, ctx: Context) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("first")
        return message

    flow = start(create(make_node(flaky, timeout_s=0.02, max_retries=1, backoff_base=0.05).to(), queue_maxsize=1))
    await flow.emit(1)
    await flow.emit(2)
    # Longer than the bound: that it does not strike can only be seen by letting its time pass.
    await asyncio.sleep(0.1)
    assert [await flow.fetch(), await flow.fetch()] == [1, 2]


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_leaves_the_next_message_alone(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def uneven(message: Message, ctx: Context) -> Message:
        if message.payload == "slow":
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        return message

    flow = start(create(make_node(uneven, timeout_s=0.02).to()))
    for _ in range(3):
        slow = asyncio.create_task(flow.call(make_message("slow")))
        fast = asyncio.create_task(flow.call(make_message("fast")))
        with pytest.raises(FlowError, match="timed out"):
            await slow
        assert (await fast).payload == "fast"


@pytest.mark.usefixtures("virtual_time")
async def test_a_node_that_answers_its_timeout_has_answered(start: Start, make_node: MakeNode) -> None:
    async def falls_back(value: str, ctx: Context) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "fallback"
        return value

    flow = start(create(make_node(falls_back, timeout_s=0.01).to(make_node(name="next"))))
    assert await flow.call("x") == "fallback"
    assert await flow.call("y") == "fallback"


@pytest.mark.usefixtures("virtual_time")
async def test_an_error_out_of_a_timeout_is_retried(start: Start, make_node: MakeNode) -> None:
    tries: list[int] = []

    async def cleans_up_badly(value: str, ctx: Context) -> str:
        tries.append(1)
        if len(tries) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("while cleaning up")
        async with asyncio.TaskGroup() as group:
            inner = group.create_task(asyncio.sleep(0, value))
        return await inner

    flow = start(create(make_node(cleans_up_badly, timeout_s=0.05, max_retries=1, backoff_base=0).to()))
    assert await flow.call("x") == "x"


@pytest.mark.parametrize("kind", ["raised", "wait_for", "timeout"])
async def test_a_timeout_error_of_the_nodes_own_is_an_exception(
    start: Start, make_node: MakeNode, kind: str, event_log: EventLog
) -> None:
    async def own(value: Any, ctx: Context) -> None:
        if kind == "raised":
            raise TimeoutError("socket")
        if kind == "wait_for":
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    flow = start(create(make_node(own, timeout_s=5.0).to(), middlewares=[event_log]))
    with pytest.raises(FlowError) as failure:
        await flow.call(1)
    assert failure.value.code == FlowErrorCode.NODE_EXCEPTION
    assert failure.value.exception_type == "TimeoutError"
    assert event_log.of_type("node_timeout") == []


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("bare", [False, True])
async def test_a_stray_cancelled_error_is_an_error_like_any_other(
    start: Start, make_node: MakeNode, make_message: MakeMessage, waits: bool, bare: bool
) -> None:
    async def stray(message: Any, ctx: Context) -> Any:
        if waits:
            await asyncio.sleep(0)
        if getattr(message, "payload", message) == "stray":
            raise asyncio.CancelledError
        return message

    flow = start(create(make_node(stray).to(), emit_errors_to_rookery=True))
    for value in ("stray", "stray", "fine"):
        await flow.emit(value if bare else make_message(value))
    for _ in range(2):
        error = await flow.fetch()
        assert isinstance(error, FlowError)
        assert error.code == FlowErrorCode.NODE_EXCEPTION
        assert error.exception_type == "CancelledError"
    result = await flow.fetch()
    assert (result if bare else result.payload) == "fine"
    assert not flow._traces


async def test_a_cancelled_helper_task_is_a_stray_cancel_too(start: Start, make_node: MakeNode) -> None:
    async def awaits_cancelled(value: Any, ctx: Context) -> None:
        helper = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(helper.cancel)
        await helper

    flow = start(create(make_node(awaits_cancelled).to()))
    with pytest.raises(FlowError, match="CancelledError"):
        await flow.call(1)


async def test_a_node_that_cancels_its_own_task_harms_nobody_else(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def suicidal(message: Message, ctx: Context) -> Message:
        task = asyncio.current_task()
        assert task is not None
        if message.payload == "silent":
            task.cancel()
        elif message.payload == "loud":
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return message

    flow = start(create(make_node(suicidal, max_concurrency=2).to(make_node(name="next"))))
    for value in ("loud", "silent", "loud"):
        with pytest.raises(FlowError, match="the task of node 'suicidal' was cancelled"):
            await flow.call(make_message(value))
        assert (await flow.call(make_message("fine"))).payload == "fine"


class Odd(BaseException):
    """No `Exception`."""


@pytest.mark.parametrize("error", [SystemExit(3), Odd("odd")])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_base_exception_fails_its_trace_only(
    start: Start, make_node: MakeNode, error: BaseException, waits: bool
) -> None:
    async def exits(value: str, ctx: Context) -> str:
        if waits:
            await asyncio.sleep(0)
        if value == "exit":
            raise error
        return value

    flow = start(create(make_node(exits).to()))
    with pytest.raises(FlowError) as failure:
        await flow.call("exit")
    assert failure.value.unwrap() is error
    assert await flow.call("go") == "go"


async def test_an_exception_that_cannot_be_shown_is_reported_all_the_same(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog
) -> None:
    class Unshowable(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

        __str__ = __repr__

    async def fails(message: Message, ctx: Context) -> Message:
        if message.payload == "bad":
            raise Unshowable
        return message

    flow = start(create(make_node(fails).to(), middlewares=[event_log]))
    with pytest.raises(FlowError) as failure:
        await flow.call(make_message("bad"))
    assert failure.value.code == FlowErrorCode.NODE_EXCEPTION
    assert (await flow.call(make_message("good"))).payload == "good"


async def test_errors_leave_order_and_neighbors_alone(start: Start, make_node: MakeNode) -> None:
    async def odd_fails(value: int, ctx: Context) -> int:
        if value % 2:
            raise ValueError(value)
        return value

    flow = start(create(make_node(odd_fails).to(make_node(name="next"))))
    for value in range(20):
        await flow.emit(value)
    assert [await flow.fetch() for _ in range(10)] == list(range(0, 20, 2))


@pytest.mark.parametrize("kind", [Message, type("Sub", (Message,), {})])
async def test_a_deadline_in_the_past_answers_in_place_of_the_node(
    start: Start,
    make_node: MakeNode,
    event_log: EventLog,
    recorder: MemoryRecorder,
    kind: type[Message],
) -> None:
    ran: list[Any] = []

    async def node(message: Message, ctx: Context) -> Message:
        ran.append(message.payload)
        return message

    flow = start(create(make_node(node).to(make_node(node, name="next")), middlewares=[event_log]), recorder=recorder)
    headers = Headers(tenant="acme")
    late = kind(payload="x", headers=headers, trace_id="t", deadline_s=time.time() - 1, meta={"k": 1})
    answer = await flow.call(late)
    assert answer.payload == FinalAnswer(text="Deadline exceeded")
    assert (answer.trace_id, answer.headers, answer.meta) == ("t", headers, {"k": 1})
    assert ran == []
    (skip,) = event_log.of_type("deadline_skip")
    assert skip.extra["deadline_s"] == late.deadline_s
    assert skip.error_payload is not None
    assert skip.error_payload["code"] == "DEADLINE_EXCEEDED"
    assert [event.name for event in recorder.only().of_kind("deadline.exceeded")] == ["node"]
    assert recorder.only().status == "timeout"
    recorder.check()

    kept = FinalAnswer(text="already there")
    await flow.emit(kind(payload=kept, headers=headers, deadline_s=time.time() - 1), trace_id="u")
    assert (await flow.fetch(trace_id="u")).payload == kept
    ahead = kind(payload="in time", headers=headers, deadline_s=time.time() + 60)
    assert (await flow.call(ahead)).payload == "in time"
    assert ran == ["in time", "in time"]


async def test_a_failed_node_leaves_nothing_behind(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def fails(message: Message, ctx: Context) -> None:
        ctx.trace_state["x"] = 1
        await ctx.emit_chunk(parent=message, text="half")
        raise ValueError("no luck")

    flow = start(create(make_node(fails).to(), queue_maxsize=0))
    for value in range(50):
        await flow.emit(make_message(value))
    await until(lambda: flow._rookery.incoming[0].size == 50)
    assert len(flow._traces) == 50
    for _ in range(50):
        await flow.fetch()
    assert not flow._traces
    assert flow._rookery.take() is None
