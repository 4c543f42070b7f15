"""The kit for tests of flows, used as such tests use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

import penguiflow
from penguiflow import Context, FlowError, FlowErrorCode, Headers, Message, ModelRegistry, Node, NodePolicy, create
from penguiflow.testkit import (
    MAX_TRACES,
    assert_node_sequence,
    assert_preserves_message_envelope,
    get_recorded_events,
    run_one,
    simulate_error,
)

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode


class Number(BaseModel):
    value: int


async def test_one_message_runs_through(make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = create(make_node(name="a").to(make_node(name="b")))
    for payload in (1, 2):
        message = make_message(payload)
        result = await run_one(flow, message)
        assert result is message
        assert_node_sequence(message.trace_id, ["a", "b"])
        assert not flow.running
    # The recorder is installed once: each event is there once.
    types = [event.event_type for event in get_recorded_events(message.trace_id)]
    assert sorted(types) == ["node_start", "node_start", "node_success", "node_success"]
    assert penguiflow.testkit.run_one is run_one


async def test_a_registry_is_used(make_message: MakeMessage) -> None:
    async def double(number: Number, ctx: Context) -> Number:
        return Number(value=number.value * 2)

    registry = ModelRegistry()
    registry.register("double", Number, Number)
    result = await run_one(create(Node(double).to()), make_message({"value": "4"}), registry=registry)
    assert result.payload == Number(value=8)


async def test_a_run_of_the_same_message_begins_a_new_history(make_node: MakeNode, make_message: MakeMessage) -> None:
    message = make_message(1)
    await run_one(create(make_node(name="a").to()), message)
    await run_one(create(make_node(name="b").to()), message)
    assert_node_sequence(message.trace_id, ["b"])


async def test_a_failing_flow_fails_the_test_at_once(make_node: MakeNode, make_message: MakeMessage) -> None:
    async def fails(message: Any, ctx: Context) -> None:
        raise ValueError("no luck")

    flow, message = create(make_node(fails, "fails").to()), make_message(1)
    with pytest.raises(FlowError, match="no luck"):
        await run_one(flow, message, timeout_s=None)
    assert_node_sequence(message.trace_id, ["fails"])
    assert not flow.running
    delivering = create(make_node(fails, "fails").to(), emit_errors_to_rookery=True)
    assert isinstance(await run_one(delivering, make_message(1)), FlowError)


async def test_a_flow_that_does_not_answer_is_stopped(make_node: MakeNode, make_message: MakeMessage) -> None:
    async def forever(message: Any, ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = create(make_node(forever).to())
    with pytest.raises(TimeoutError):
        await run_one(flow, make_message(1), timeout_s=0.02)
    assert not flow.running


async def test_a_flow_that_drops_the_message_gives_none(make_node: MakeNode, make_message: MakeMessage) -> None:
    async def drop(message: Any, ctx: Context) -> None:
        return None

    assert await run_one(create(make_node(drop).to()), make_message(1), timeout_s=None) is None


async def test_a_result_in_an_envelope_of_its_own_is_a_result(make_node: MakeNode, make_message: MakeMessage) -> None:
    async def forget(message: Message, ctx: Context) -> Message:
        await asyncio.sleep(0)
        return make_message("new")

    flow = create(make_node(name="a").to(make_node(forget, "forget")))
    assert (await run_one(flow, make_message(1))).payload == "new"


async def test_only_messages_are_run(make_node: MakeNode, make_message: MakeMessage) -> None:
    flow: Any = create(make_node(name="a").to())
    bare: Any = {"no": "envelope"}
    with pytest.raises(TypeError, match=r"run_one expects a penguiflow\.types\.Message instance"):
        await run_one(flow, bare)
    flow.run()
    with pytest.raises(RuntimeError, match="already running"):
        await run_one(flow, make_message(1))
    # It is somebody else's: it runs on.
    assert flow.running
    await flow.stop()


async def test_a_wrong_sequence_says_what_happened(make_node: MakeNode, make_message: MakeMessage) -> None:
    message = make_message(1, trace_id="seq")
    await run_one(create(make_node(name="a").to(make_node(name="b"))), message)
    with pytest.raises(AssertionError) as failure:
        assert_node_sequence("seq", ["b", "a"])
    assert str(failure.value) == "Node sequence mismatch:\n  expected: ['b', 'a']\n  actual:   ['a', 'b']"
    with pytest.raises(AssertionError) as failure:
        assert_node_sequence("nobody", [])
    assert str(failure.value) == "No recorded events for trace_id='nobody'; run a flow with run_one first."


async def test_the_history_is_bounded(
    make_node: MakeNode, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguiflow.testkit.MAX_EVENTS", 3)
    flow = create(make_node(name="a").to(make_node(name="b")))
    for number in range(MAX_TRACES + 1):
        await run_one(flow, make_message(1, trace_id=f"bounded-{number}"))
    assert get_recorded_events("bounded-0") == ()
    assert len(get_recorded_events("bounded-1")) == 3
    assert len(penguiflow.testkit._history) == MAX_TRACES


async def test_a_simulated_error_goes_away(make_message: MakeMessage) -> None:
    flaky = simulate_error("flaky", FlowErrorCode.NODE_EXCEPTION, fail_times=2, result="fine")
    node = Node(flaky, name="flaky", policy=NodePolicy(validate="none", max_retries=2, backoff_base=0.0))
    message = make_message(1)
    assert await run_one(create(node.to()), message) == "fine"
    simulation: Any = vars(flaky)["simulation"]
    assert (simulation.attempts, simulation.failures) == (3, 2)
    assert_node_sequence(message.trace_id, ["flaky"])
    errors = [e.extra["exception"] for e in get_recorded_events(message.trace_id) if e.event_type == "node_error"]
    assert errors == [
        f"RuntimeError('[NODE_EXCEPTION] simulated failure in flaky (attempt {attempt})')" for attempt in (1, 2)
    ]


async def test_what_a_simulation_gives_in_the_end() -> None:
    async def later(message: Any) -> str:
        return f"later {message}"

    async def outcome(**given: Any) -> Any:
        simulated = simulate_error("n", "MY_CODE", exception_type=OSError, **given)
        with pytest.raises(OSError, match=r"\[MY_CODE\] simulated failure in n \(attempt 1\)"):
            await simulated("m", None)
        return await simulated("m", None)

    assert await outcome() == "m"
    assert await outcome(result=0) == 0
    assert await outcome(result_factory=str.upper) == "M"
    assert await outcome(result_factory=later) == "later m"


def test_an_impossible_simulation_is_refused() -> None:
    with pytest.raises(ValueError, match="fail_times must be >= 1"):
        simulate_error("n", "C", fail_times=0)
    with pytest.raises(ValueError, match="Specify only one of result or result_factory"):
        simulate_error("n", "C", result=1, result_factory=str)


async def test_an_envelope_that_is_kept() -> None:
    async def keep(message: Message, ctx: Any) -> Message:
        await ctx.emit(message)
        ctx.emit_nowait(message)
        return message.model_copy(update={"payload": "new", "meta": {"seen": True}})

    for node in (keep, Node(keep)):
        result = await assert_preserves_message_envelope(node)
        assert (result.payload, result.headers) == ("new", Headers(tenant="test"))
    own = Message(payload=1, headers=Headers(tenant="mine"), trace_id="t")
    assert (await assert_preserves_message_envelope(keep, message=own)).trace_id == "t"


async def test_an_envelope_that_is_not_kept() -> None:
    async def strip(message: Message, ctx: Any) -> Any:
        return message.payload

    async def forge(message: Message, ctx: Any) -> Message:
        return Message(payload=1, headers=Headers(tenant="other"))

    async def scribble(message: Message, ctx: Any) -> Message:
        message.headers.topic = "changed in place"
        return message

    with pytest.raises(AssertionError, match=r"^Node 'strip' must return a Message but produced dict$"):
        await assert_preserves_message_envelope(strip)
    with pytest.raises(
        AssertionError, match=r"^Node 'named' altered Message headers, trace_id; preserve the envelope$"
    ):
        await assert_preserves_message_envelope(Node(forge, name="named"))
    with pytest.raises(AssertionError, match=r"^Node 'scribble' altered Message headers; preserve the envelope$"):
        await assert_preserves_message_envelope(scribble)


async def test_what_cannot_be_checked_is_refused() -> None:
    def sync(message: Message, ctx: Any) -> Message:
        raise AssertionError("never called")

    async def streams(message: Message, ctx: Any) -> Message:
        await ctx.emit_chunk(parent=message, text="x")
        return message

    class Callable:
        async def __call__(self, message: Message, ctx: Any) -> Message:
            return message

    with pytest.raises(TypeError, match="async def"):
        await assert_preserves_message_envelope(sync)
    with pytest.raises(RuntimeError, match="pass ctx="):
        await assert_preserves_message_envelope(streams)

    class Chunks:
        async def emit_chunk(self, **chunk: Any) -> None:
            """Take it."""

    await assert_preserves_message_envelope(streams, ctx=Chunks())
    await assert_preserves_message_envelope(Callable())
