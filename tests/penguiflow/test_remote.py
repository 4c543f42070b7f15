"""A node whose work a remote agent does: results, chunks, events, bindings, failures, and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from penguiflow import (
    REMOTE_TERMINAL_TASK_STATES,
    Context,
    FlowError,
    FlowErrorCode,
    FlowEvent,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    RemoteBinding,
    RemoteCallRequest,
    RemoteCallResult,
    RemoteNode,
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskInputRequired,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
    StreamChunk,
    SupportsRemoteTasks,
    create,
)
from penguiflow.core import TraceCancelled
from penguiflow.state import InMemoryStateStore

URL = "https://agent.example"


class Scripted:
    """A transport that does as it is told. An event in the script is waited for; it says when it waits."""

    def __init__(self, *script: RemoteStreamEvent | BaseException | asyncio.Event, result: Any = None) -> None:
        self.script = script
        self.result = result
        self.requests: list[RemoteCallRequest] = []
        self.cancels: list[tuple[str, str]] = []
        self.cancel_error: BaseException | None = None
        self.cancel_gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.closed = 0

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        self.requests.append(request)
        async for _ in self._play():
            continue
        answer: RemoteCallResult = self.result
        return answer

    async def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        self.requests.append(request)
        try:
            async for event in self._play():
                yield event
        finally:
            self.closed += 1

    async def _play(self) -> AsyncIterator[RemoteStreamEvent]:
        for step in self.script:
            if isinstance(step, asyncio.Event):
                self.waiting.set()
                await step.wait()
            elif isinstance(step, BaseException):
                raise step
            else:
                yield step

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        self.cancels.append((agent_url, task_id))
        if self.cancel_gate is not None:
            await self.cancel_gate.wait()
        if self.cancel_error is not None:
            raise self.cancel_error


def ask(payload: Any = "question", **meta: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), meta=meta)


def remote(transport: Scripted, **options: Any) -> Node:
    options.setdefault("policy", NodePolicy(validate="none"))
    return RemoteNode(transport=transport, skill="search", agent_url=URL, name="remote", **options)


def answer(result: Any, **about: Any) -> RemoteCallResult:
    about.setdefault("task_id", "task-1")
    return RemoteCallResult(result=result, context_id="ctx-1", **about)


@pytest.fixture
def flow_of(start: Any, event_log: Any) -> Callable[..., PenguiFlow]:
    def make(node: Node, **run: Any) -> PenguiFlow:
        flow: PenguiFlow = start(create(node.to(), middlewares=[event_log]), **run)
        return flow

    return make


def remote_events(event_log: Any) -> list[FlowEvent]:
    return [event for event in event_log.events if event.event_type.startswith("remote")]


def snapshot(state: RemoteTaskState, message: str | None = None, result: Any = None) -> RemoteTaskSnapshot:
    return RemoteTaskSnapshot("task-1", "ctx-1", RemoteTaskStatus(state, message), result=result)


async def test_the_result_is_returned_bare_and_told(flow_of: Any, event_log: Any) -> None:
    transport = Scripted(result=answer({"a": 1}))
    flow = flow_of(remote(transport, agent_card={"name": "x"}, policy=NodePolicy(validate="none", timeout_s=9.0)))
    question = ask(remote_context_id="c0", context_id="c1", extra=1)
    assert await flow.call(question) == {"a": 1}

    (request,) = transport.requests
    assert request.message.payload == "question"
    assert (request.skill, request.agent_url, request.agent_card) == ("search", URL, {"name": "x"})
    assert request.metadata == question.meta
    assert (request.timeout_s, request.context_id, request.task_id) == (9.0, "c0", None)
    begun, done = remote_events(event_log)
    common = {
        "remote_skill": "search",
        "remote_transport": "Scripted",
        "remote_streaming": False,
        "remote_agent_url": URL,
        "remote_request_bytes": 8,
    }
    assert (begun.event_type, begun.latency_ms, begun.attempt) == ("remote_call_start", 0.0, 0)
    assert dict(begun.extra) == common | {"remote_context_id": "c0"}
    assert (done.event_type, done.trace_id, done.node_name) == ("remote_call_success", question.trace_id, "remote")
    assert done.latency_ms is not None
    assert dict(done.extra) == common | {
        "remote_context_id": "ctx-1",
        "remote_task_id": "task-1",
        "remote_status": "success",
        "remote_response_bytes": len('{"a":1}'),
        "remote_stream_events": 0,
    }
    assert transport.cancels == []


async def test_pieces_are_chunks_and_the_last_result_is_the_answer(flow_of: Any, event_log: Any) -> None:
    transport = Scripted(
        RemoteStreamEvent(text="Hé", task_id="task-1", context_id="ctx-1", meta={"b": 1, "a": 2}),
        RemoteStreamEvent(result="first"),
        RemoteStreamEvent(text="!", done=True, agent_url="https://other.example"),
        RemoteStreamEvent(result="last"),
    )
    flow = flow_of(remote(transport, streaming=True))
    items = [item async for item in flow.stream(ask())]
    chunks = [item.payload for item in items[:-1]]
    assert all(isinstance(chunk, StreamChunk) for chunk in chunks)
    assert [(chunk.text, chunk.done, chunk.meta) for chunk in chunks] == [
        ("Hé", False, {"b": 1, "a": 2}),
        ("!", True, {}),
    ]
    assert items[-1] == "last"
    assert transport.closed == 1

    begun, *pieces, done = remote_events(event_log)
    assert [piece.event_type for piece in pieces] == ["remote_stream_event"] * 4
    assert [piece.extra["remote_stream_seq"] for piece in pieces] == [0, 1, 2, 3]
    assert [piece.extra["remote_chunk_done"] for piece in pieces] == [False, False, True, False]
    assert [piece.extra.get("remote_chunk_bytes") for piece in pieces] == [3, None, 1, None]
    assert pieces[0].extra["remote_chunk_meta_keys"] == ["a", "b"]
    assert done.extra["remote_agent_url"] == "https://other.example"
    assert (done.extra["remote_stream_events"], done.extra["remote_response_bytes"]) == (4, 4)
    assert begun.extra["remote_streaming"] is True


async def test_the_task_is_bound_to_the_trace_once(flow_of: Any) -> None:
    transport = Scripted(
        RemoteStreamEvent(text="no task yet"),
        RemoteStreamEvent(text="1", task_id="task-1", context_id="ctx-1"),
        RemoteStreamEvent(text="2", task_id="task-1"),
        RemoteStreamEvent(result=1),
    )
    store = InMemoryStateStore()
    flow = flow_of(remote(transport, streaming=True), state_store=store)
    question = ask(session_id="s", user_id="u")
    await flow.call(question)
    assert await store.list_bindings(router_session_id="s") == [
        RemoteBinding(
            trace_id=question.trace_id,
            context_id="ctx-1",
            task_id="task-1",
            agent_url=URL,
            router_session_id="s",
            remote_skill="search",
            tenant_id="acme",
            user_id="u",
            last_remote_task_id="task-1",
            metadata={"source": "remote_node"},
        )
    ]


@pytest.mark.parametrize("streaming", [False, True])
async def test_another_task_than_was_asked_for_is_bound_too(flow_of: Any, streaming: bool) -> None:
    """The next message of the conversation has to go to the task that there is now."""
    store = InMemoryStateStore()
    transport = Scripted(
        RemoteStreamEvent(result=1, task_id="task-1", context_id="ctx-1"), result=None if streaming else answer(1)
    )
    flow = flow_of(remote(transport, streaming=streaming), state_store=store)
    await flow.call(ask(session_id="s", remote_task_id="done", remote_context_id="c0"))
    bound = await store.find_binding(router_session_id="s", agent_url=URL, remote_skill="search")
    assert bound is not None
    assert (bound.task_id, bound.last_remote_task_id, bound.context_id) == ("task-1", "task-1", "ctx-1")


@pytest.mark.parametrize(
    ("meta", "tenant"), [({"tenant_id": "a", "tenant": "b"}, "a"), ({"tenant": "b"}, "b"), ({}, "acme")]
)
async def test_the_tenant_of_a_binding(flow_of: Any, meta: dict[str, str], tenant: str) -> None:
    store = InMemoryStateStore()
    flow = flow_of(remote(Scripted(result=answer(1))), state_store=store)
    await flow.call(ask(session_id="s", **meta))
    assert [binding.tenant_id for binding in await store.list_bindings(router_session_id="s")] == [tenant]


async def test_no_binding_when_none_is_wanted_or_there_is_no_task(flow_of: Any) -> None:
    store = InMemoryStateStore()
    flow = flow_of(remote(Scripted(result=answer(1)), record_binding=False), state_store=store)
    await flow.call(ask(session_id="s"))
    other = flow_of(remote(Scripted(result=answer(1, task_id=None))), state_store=store)
    await other.call(ask(session_id="s"))
    assert await store.list_bindings(router_session_id="s") == []


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_failure_is_told_and_raised(flow_of: Any, event_log: Any, streaming: bool) -> None:
    transport = Scripted(ConnectionError("gone"))
    with pytest.raises(FlowError, match="gone") as caught:
        await flow_of(remote(transport, streaming=streaming)).call(ask())
    assert caught.value.code == FlowErrorCode.NODE_EXCEPTION
    (failed,) = event_log.of_type("remote_call_error")
    assert failed.extra["remote_status"] == "error"
    assert failed.extra["remote_error"] == "ConnectionError('gone')"
    assert failed.latency_ms is not None
    assert transport.cancels == []


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_cancelled_trace_cancels_the_task_once(
    flow_of: Any, event_log: Any, until: Any, streaming: bool
) -> None:
    transport = Scripted(asyncio.Event(), RemoteStreamEvent(result=1))
    node = remote(transport, streaming=streaming)
    flow = flow_of(node)
    question = ask(remote_task_id="task-1")
    call = asyncio.create_task(flow.call(question))
    await transport.waiting.wait()
    assert transport.requests[0].task_id == "task-1"
    assert await flow.cancel(question.trace_id)
    with pytest.raises(FlowError) as caught:
        await call
    assert caught.value.code == FlowErrorCode.TRACE_CANCELLED
    await until(lambda: event_log.of_type("remote_call_cancelled"))
    (cancelled,) = event_log.of_type("remote_call_cancelled")
    assert (cancelled.extra["remote_status"], cancelled.extra["remote_cancel_reason"]) == ("cancelled", "trace_cancel")
    assert cancelled.trace_id == question.trace_id
    assert transport.closed == (1 if streaming else 0)
    await flow.stop()
    assert transport.cancels == [(URL, "task-1")]


async def test_a_task_known_from_the_stream_is_cancelled_where_it_runs(flow_of: Any, until: Any) -> None:
    first = RemoteStreamEvent(text="x", task_id="task-7", agent_url="https://other.example")
    transport = Scripted(first, asyncio.Event())
    flow = flow_of(remote(transport, streaming=True))
    question = ask()
    call = asyncio.create_task(flow.call(question))
    await transport.waiting.wait()
    await flow.cancel(question.trace_id)
    with pytest.raises(FlowError):
        await call
    await until(lambda: transport.cancels)
    assert transport.cancels == [("https://other.example", "task-7")]


async def test_a_transport_that_ignores_cancellation_is_told_all_the_same(flow_of: Any, until: Any) -> None:
    gate = asyncio.Event()

    class Stubborn(Scripted):
        async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
            self.waiting.set()
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue
            return answer(1)

    transport = Stubborn()
    flow = flow_of(remote(transport))
    question = ask(remote_task_id="task-1")
    call = asyncio.create_task(flow.call(question))
    await transport.waiting.wait()
    await flow.cancel(question.trace_id)
    await until(lambda: transport.cancels)
    gate.set()
    with pytest.raises(FlowError):
        await call
    await flow.stop()
    assert transport.cancels == [(URL, "task-1")]


async def test_a_trace_that_was_cancelled_before_starts_nothing(event_log: Any, until: Any) -> None:
    transport = Scripted(result=answer(1))
    node = remote(transport)
    flow = create(node.to(), middlewares=[event_log])
    flow.run()
    question = ask(remote_task_id="task-1")
    event = flow.ensure_trace_event(question.trace_id)
    event.set()
    context = Context._of(flow._ports[node])
    with pytest.raises(TraceCancelled):
        await node.invoke(question, context, registry=None)
    await until(lambda: event_log.of_type("remote_call_cancelled"))
    assert transport.requests == []
    assert transport.cancels == [(URL, "task-1")]
    (cancelled,) = event_log.of_type("remote_call_cancelled")
    assert cancelled.extra["remote_cancel_reason"] == "pre_cancelled"
    await flow.stop()


async def test_a_cancel_that_fails_is_told(flow_of: Any, event_log: Any, until: Any) -> None:
    transport = Scripted(asyncio.Event())
    transport.cancel_error = ConnectionError("gone")
    flow = flow_of(remote(transport))
    question = ask(remote_task_id="task-1")
    call = asyncio.create_task(flow.call(question))
    await transport.waiting.wait()
    await flow.cancel(question.trace_id)
    with pytest.raises(FlowError):
        await call
    await until(lambda: event_log.of_type("remote_cancel_error"))
    (failed,) = event_log.of_type("remote_cancel_error")
    assert failed.extra["remote_status"] == "cancel_error"
    assert failed.extra["remote_error"] == "ConnectionError('gone')"
    assert event_log.of_type("remote_call_cancelled") == []


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_of_the_node_leaves_no_task_running(flow_of: Any, event_log: Any, until: Any) -> None:
    transport = Scripted(asyncio.Event())
    flow = flow_of(remote(transport, policy=NodePolicy(validate="none", timeout_s=0.01)))
    with pytest.raises(FlowError) as caught:
        await flow.call(ask(remote_task_id="task-1"))
    assert caught.value.code == FlowErrorCode.NODE_TIMEOUT
    await until(lambda: event_log.of_type("remote_call_cancelled"))
    assert event_log.of_type("remote_call_cancelled")[0].extra["remote_cancel_reason"] == "call_cancelled"
    assert transport.cancels == [(URL, "task-1")]


async def test_stop_waits_until_the_agent_took_the_cancellation(flow_of: Any, event_log: Any, until: Any) -> None:
    transport = Scripted(asyncio.Event())
    transport.cancel_gate = asyncio.Event()
    flow = flow_of(remote(transport))
    call = asyncio.create_task(flow.call(ask(remote_task_id="task-1")))
    await transport.waiting.wait()
    stopping = asyncio.create_task(flow.stop())
    await until(lambda: transport.cancels)
    assert not stopping.done()
    transport.cancel_gate.set()
    await stopping
    with pytest.raises(FlowError):
        await call
    assert transport.cancels == [(URL, "task-1")]
    assert event_log.of_type("remote_call_cancelled")


async def test_a_cancellation_after_the_answer_reaches_nobody(flow_of: Any, until: Any) -> None:
    transport = Scripted(result=answer(1))
    flow = flow_of(remote(transport))
    question = ask()
    await flow.call(question)
    flow.ensure_trace_event(question.trace_id).set()
    await flow.stop()
    assert transport.cancels == []
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("penguiflow:remote")]


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        (RemoteTaskState.INPUT_REQUIRED, RemoteTaskInputRequired, "Remote agent requires more input."),
        (RemoteTaskState.AUTH_REQUIRED, RemoteTaskAuthRequired, "Remote agent requires authorization."),
    ],
)
@pytest.mark.parametrize("raised", [True, False])
async def test_a_task_that_waits_for_somebody_can_be_found_again(
    flow_of: Any, event_log: Any, state: RemoteTaskState, error: Any, text: str, raised: bool
) -> None:
    store = InMemoryStateStore()
    waits = snapshot(state)
    transport = Scripted(error(waits)) if raised else Scripted(result=answer(waits))
    with pytest.raises(FlowError) as caught:
        await flow_of(remote(transport), state_store=store).call(ask(session_id="s"))
    original = caught.value.unwrap()
    assert isinstance(original, error)
    assert (str(original), original.snapshot) == (text, waits)
    binding = await store.find_binding(router_session_id="s", agent_url=URL, remote_skill="search")
    assert binding is not None
    assert (binding.task_id, binding.context_id, binding.is_terminal) == ("task-1", "ctx-1", False)
    (failed,) = event_log.of_type("remote_call_error")
    assert failed.extra["remote_task_id"] == "task-1"
    assert transport.cancels == []


async def test_a_task_given_as_a_whole(flow_of: Any) -> None:
    done = snapshot(RemoteTaskState.COMPLETED, result="found")
    assert await flow_of(remote(Scripted(result=answer(done)))).call(ask()) == "found"
    failed = Scripted(RemoteStreamEvent(result=snapshot(RemoteTaskState.REJECTED, "not allowed")))
    with pytest.raises(FlowError, match="Remote task task-1 is rejected: not allowed"):
        await flow_of(remote(failed, streaming=True)).call(ask())


def test_states_of_a_task() -> None:
    terminal = {state for state in RemoteTaskState if snapshot(state).is_terminal}
    assert terminal == REMOTE_TERMINAL_TASK_STATES
    assert {state.value for state in terminal} == {"completed", "failed", "cancelled", "rejected"}
    assert not isinstance(Scripted(), SupportsRemoteTasks)


async def test_only_messages_are_sent(flow_of: Any) -> None:
    with pytest.raises(FlowError, match=r"Remote nodes require penguiflow\.types\.Message inputs"):
        await flow_of(remote(Scripted())).call("bare", trace_id="t")


async def test_a_node_registered_for_the_payload_sends_the_message(flow_of: Any) -> None:
    registry = ModelRegistry()
    registry.register("remote", Headers, Headers)
    transport = Scripted(result=answer(Headers(tenant="result")))
    flow = flow_of(remote(transport, policy=NodePolicy()), registry=registry)
    question = ask(Headers(tenant="payload"), a=1)
    result = await flow.call(question)
    assert (result.payload, result.trace_id) == (Headers(tenant="result"), question.trace_id)
    assert transport.requests[0].message.payload == Headers(tenant="payload")
    assert transport.requests[0].metadata == {"a": 1}


async def test_sizes_of_what_is_no_json(flow_of: Any, event_log: Any) -> None:
    for result in (b"abc", None, object()):
        await flow_of(remote(Scripted(result=answer(result)))).call(ask(b"\xff\xfe"))
    sizes = [event.extra["remote_response_bytes"] for event in event_log.of_type("remote_call_success")]
    assert sizes[:2] == [3, 0]
    assert sizes[2] > 0
    assert event_log.of_type("remote_call_start")[0].extra["remote_request_bytes"] == 2


async def test_stop_does_not_end_a_cancellation_that_is_on_its_way(flow_of: Any, event_log: Any, until: Any) -> None:
    transport = Scripted(asyncio.Event())
    transport.cancel_gate = asyncio.Event()
    flow = flow_of(remote(transport))
    question = ask(remote_task_id="task-1")
    call = asyncio.create_task(flow.call(question))
    await transport.waiting.wait()
    await flow.cancel(question.trace_id)
    with pytest.raises(FlowError):
        await call
    await until(lambda: transport.cancels)
    stopping = asyncio.create_task(flow.stop())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not stopping.done()
    transport.cancel_gate.set()
    await stopping
    (cancelled,) = event_log.of_type("remote_call_cancelled")
    assert cancelled.extra["remote_cancel_reason"] == "trace_cancel"


async def test_a_call_outside_a_flow() -> None:
    node = remote(Scripted(result=answer("found")))
    assert await node.invoke(ask(), Context(node), registry=None) == "found"
