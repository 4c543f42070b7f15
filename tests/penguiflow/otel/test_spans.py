"""The event log as spans, as a collector gets them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow import (
    Context,
    FlowError,
    Headers,
    Message,
    Node,
    NodePolicy,
    RemoteCallRequest,
    RemoteCallResult,
    RemoteNode,
    RemoteStreamEvent,
    create,
)
from penguiflow.otel import ExportFailed, SpanSink, export_events, otlp_sink
from penguiflow.otel.otlp import traces_url
from penguiflow.recording import Recorder, TraceEvent
from penguiflow.state import SQLiteStateStore
from penguiflow.traceparent import parent_of, trace_number

CLIENT, INTERNAL = 3, 1
OK, ERROR = 1, 2
PLAIN = NodePolicy(validate="none", max_retries=0)


async def run(sink: SpanSink, message: Message, *nodes: Node) -> Any:
    """A flow of nodes in a row, recorded to the sink alone."""
    flow = create(*(node.to(*nodes[index + 1 : index + 2]) for index, node in enumerate(nodes)))
    flow.run(recorder=Recorder(sink, name="triage", data={"version": "v7"}))
    try:
        return await flow.call(message)
    finally:
        await flow.stop()
        sink.close()


def message(payload: Any = "a secret plan", **meta: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), meta=meta)


async def test_a_live_flow(collector: Any) -> None:
    tries = 0

    async def work(message: Message, ctx: Context) -> Message:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("not yet")
        await ctx.record("lookup", lambda word: word.upper(), "fish")
        await ctx.emit_chunk(parent=message, text="one", to=[])
        await ctx.emit_chunk(parent=message, text="two", done=True, to=[])
        return message

    sent = message()
    policy = NodePolicy(validate="none", max_retries=1, backoff_base=0.001)
    await run(otlp_sink(collector.url), sent, Node(work, name="work", policy=policy))

    assert set(collector.paths) == {"/v1/traces"}
    assert collector.scopes == {"penguiflow"}
    root, node = collector.span("invoke_workflow triage"), collector.span("node work")
    attempts = [span for span in collector.spans if span["name"] == "attempt work"]
    assert {span["trace"] for span in collector.spans} == {sent.trace_id}
    assert root["parent"] == ""
    assert node["parent"] == root["id"]
    assert {span["parent"] for span in attempts} == {node["id"]}
    assert len({span["id"] for span in collector.spans}) == 4
    assert [span["status"][0] for span in attempts] == [ERROR, OK]
    assert root["status"] == (OK, "")
    assert root["start"] <= node["start"] <= attempts[0]["start"] <= attempts[0]["end"] <= attempts[1]["start"]
    assert attempts[1]["end"] <= node["end"] <= root["end"]
    assert (
        root["attributes"] | {"gen_ai.operation.name": "invoke_workflow", "penguiflow.code.version": "v7"}
        == (root["attributes"])
    )
    assert root["attributes"]["penguiflow.trace.id"] == sent.trace_id
    assert root["kind"] == INTERNAL
    assert attempts[0]["attributes"]["error.type"] == "ValueError"
    ((name, about),) = attempts[0]["events"]
    assert (name, about["exception.type"], about["exception.message"]) == ("exception", "ValueError", "not yet")
    assert "test_spans.py" in about["exception.stacktrace"]
    assert [name for name, _ in attempts[1]["events"]] == ["record lookup"]
    assert [name for name, _ in node["events"]] == ["node.retry"]
    assert node["attributes"]["penguiflow.stream.chunks"] == 2
    told = json.dumps(collector.spans)
    assert "secret plan" not in told
    assert "FISH" not in told


async def test_content_goes_along_when_it_is_asked_for(collector: Any) -> None:
    async def work(message: Message, ctx: Context) -> Message:
        await ctx.record("lookup", lambda word: word.upper(), "fish" * 100)
        return message

    sink = otlp_sink(collector.url, content=True)
    sink._most = 60
    await run(sink, message(), Node(work, name="work", policy=PLAIN))

    sent = dict(collector.span("invoke_workflow triage")["events"])
    assert "a secret plan" in sent["message.enqueued"]["penguiflow.payload"]
    looked = dict(collector.span("attempt work")["events"])["record lookup"]
    assert looked["penguiflow.request"].startswith('{"type":')
    assert len(looked["penguiflow.response"]) == 61


def call_events(store: SQLiteStateStore) -> None:
    log = store.recorder(name="planner").open("calls", {"session": "s1"})
    planner = log.start("planner", "react", log.root)
    step = log.start("step", "1", planner)
    asked = {"messages": [{"role": "user", "content": "classified"}], "temperature": 0.5}
    model = log.start("llm", "chat", step, {"model": "gpt-x", "provider": "openai", "request": asked})
    answer = {"status": "ok", "model": "gpt-x-1", "response": "also classified"}
    log.end("llm", "chat", model, step, "ok", {**answer, "usage": {"input_tokens": 7, "output_tokens": 5}, "cost": 0.1})
    tool = log.start("tool", "search", step, {"request": {"q": "classified"}, "call_id": "c1"})
    log.end("tool", "search", tool, step, "timeout", {})
    log.end("step", "1", step, planner, "ok")
    log.end("planner", "react", planner, log.root, "ok")
    log.close("error", {"error": {"code": "NODE_EXCEPTION", "message": "broken"}})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStateStore]:
    opened = SQLiteStateStore(tmp_path / "state.db")
    yield opened
    await opened.close()


async def stored(store: SQLiteStateStore, trace_id: str) -> AsyncIterator[TraceEvent]:
    await store.flush()
    for event in await store.load_events(trace_id):
        yield event


async def test_calls_follow_the_conventions(store: SQLiteStateStore, collector: Any) -> None:
    call_events(store)
    assert await export_events(stored(store, "calls"), collector.url) == 5
    model, tool = collector.span("chat gpt-x"), collector.span("execute_tool search")
    assert model["kind"] == CLIENT
    assert model["attributes"] == {
        "penguiflow.span.kind": "llm",
        "penguiflow.status": "ok",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.model": "gpt-x-1",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "penguiflow.cost": 0.1,
    }
    assert tool["status"] == (ERROR, "timeout")
    assert tool["attributes"]["gen_ai.tool.call.id"] == "c1"
    assert tool["attributes"]["error.type"] == "timeout"
    step, planner = collector.span("step 1"), collector.span("invoke_agent react")
    assert [model["parent"], tool["parent"], step["parent"]] == [step["id"], step["id"], planner["id"]]
    root = collector.span("invoke_workflow planner")
    assert root["attributes"]["gen_ai.conversation.id"] == "s1"
    assert root["status"] == (ERROR, "broken")
    assert root["trace"] == f"{trace_number('calls'):032x}"
    assert "classified" not in json.dumps(collector.spans)


async def test_content_of_calls(store: SQLiteStateStore, collector: Any) -> None:
    call_events(store)
    await export_events(stored(store, "calls"), collector.url + "/v1/traces", content=True)
    model, tool = collector.span("chat gpt-x"), collector.span("execute_tool search")
    assert "classified" in model["attributes"]["gen_ai.input.messages"]
    assert json.loads(model["attributes"]["gen_ai.output.messages"]) == "also classified"
    assert json.loads(tool["attributes"]["gen_ai.tool.call.arguments"]) == {"q": "classified"}


async def test_live_and_stored_are_the_same_spans(store: SQLiteStateStore, collector: Any) -> None:
    async def work(message: Message, ctx: Context) -> Message:
        return message

    sink = otlp_sink(collector.url)
    flow = create(Node(work, name="work", policy=PLAIN).to())
    flow.run(recorder=store.recorder(sink, name="f"))
    sent = message()
    await flow.call(sent)
    await flow.stop()
    sink.close()
    live, collector.spans = collector.spans, []
    await export_events(stored(store, sent.trace_id), collector.url)
    assert collector.spans == live
    assert len(live) == 3
    assert sink._traces == {}


async def test_a_trace_that_was_taken_up_again_has_two_roots(store: SQLiteStateStore, collector: Any) -> None:
    recorder = store.recorder(name="f")
    recorder.open("t").close("interrupted")
    recorder.open("t").close("ok")
    assert await export_events(stored(store, "t"), collector.url) == 2
    assert [span["attributes"]["penguiflow.trace.epoch"] for span in collector.spans] == [0, 1]
    assert len({span["trace"] for span in collector.spans}) == 1


async def test_absurd_numbers_of_an_imported_trace_do_no_harm(collector: Any) -> None:
    told: list[tuple[str, int, dict[str, Any]]] = [
        ("trace.start", -(2**62), {"attempt": 2**70, "session": "s"}),
        ("node.retry", 2**62, {"sleep": 2**70}),
        ("trace.end", 2**62, {"status": "ok", "cost": 2**70}),
    ]

    async def events() -> AsyncIterator[TraceEvent]:
        for seq, (kind, offset, data) in enumerate(told):
            yield TraceEvent(seq, 0, "t", "0", None, 9e11, offset, kind, "f", data)

    assert await export_events(events(), collector.url) == 1
    assert collector.span("invoke_workflow f")["attributes"]["penguiflow.cost"] == str(2**70)


async def test_two_remote_calls_of_one_attempt_are_two_spans(store: SQLiteStateStore, collector: Any) -> None:
    log = store.recorder(name="f").open("t")
    for skill in ("one", "two"):
        span = log.start("remote", skill, log.root, {"ordinal": 0})
        log.end("remote", skill, span, log.root, "ok")
    log.close("ok")
    assert await export_events(stored(store, "t"), collector.url) == 3
    assert len({span["id"] for span in collector.spans}) == 3


async def test_a_collector_that_refuses(store: SQLiteStateStore, collector: Any) -> None:
    recorder = store.recorder(name="f")
    recorder.open("t").close("ok")
    collector.status = 400
    with pytest.raises(ExportFailed):
        await export_events(stored(store, "t"), collector.url)
    with pytest.raises(ValueError, match="no http address"):
        await export_events(stored(store, "t"), "collector:4318")
    assert traces_url("http://h:4318/") == "http://h:4318/v1/traces"
    assert traces_url("https://h/otlp/v1/traces") == "https://h/otlp/v1/traces"


class Agent:
    """A transport to a flow in another process; here it is this one. Keeps what it was told."""

    def __init__(self, sink: SpanSink) -> None:
        self.sink = sink
        self.requests: list[RemoteCallRequest] = []

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        self.requests.append(request)

        async def answer(message: Message, ctx: Context) -> Message:
            return message

        flow = create(Node(answer, name="answer", policy=PLAIN).to())
        flow.run(recorder=Recorder(self.sink, name="agent"))
        asked = Message(payload="?", headers=Headers(tenant="other"), meta=dict(request.metadata or {}))
        await flow.call(asked)
        await flow.stop()
        return RemoteCallResult(result="done")

    async def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        await self.send(request)
        yield RemoteStreamEvent(text="do")
        yield RemoteStreamEvent(result="done", done=True)

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_other_side_of_a_remote_call_is_part_of_the_trace(collector: Any, streaming: bool) -> None:
    there, here = otlp_sink(collector.url), otlp_sink(collector.url)
    agent = Agent(there)
    node = RemoteNode(
        transport=agent, skill="sum", agent_url="http://agent.example:8080/a2a", name="remote", policy=PLAIN,
        streaming=streaming,
    )  # fmt: skip
    outer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = message(traceparent=outer)
    await run(here, sent, node)
    there.close()

    (request,) = agent.requests
    told = parent_of(request.metadata)
    assert told is not None
    calls = [span for span in collector.spans if span["kind"] == CLIENT]
    (call,) = calls
    assert call["name"] == "invoke_agent sum"
    assert call["attributes"]["server.address"] == "agent.example"
    assert f"{told.span:016x}" == call["id"]
    assert collector.span("invoke_workflow agent")["parent"] == call["id"]
    assert collector.span("invoke_workflow triage")["parent"] == "b7ad6b7169203331"
    assert {span["trace"] for span in collector.spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert collector.span("attempt remote")["id"] == call["parent"]


async def test_without_a_sink_that_follows_it_nothing_is_told(store: SQLiteStateStore, collector: Any) -> None:
    there = otlp_sink(collector.url)
    agent = Agent(there)
    flow = create(RemoteNode(transport=agent, skill="s", agent_url="http://a", name="remote", policy=PLAIN).to())
    flow.run(recorder=store.recorder())
    await flow.call(message())
    await flow.stop()
    there.close()
    assert "traceparent" not in (agent.requests[0].metadata or {})


async def test_a_node_that_fails_for_good(collector: Any) -> None:
    async def work(message: Message, ctx: Context) -> Message:
        raise KeyError("gone")

    with pytest.raises(FlowError):
        await run(otlp_sink(collector.url), message(), Node(work, name="work", policy=PLAIN))
    for name in ("invoke_workflow triage", "node work", "attempt work"):
        assert collector.span(name)["status"][0] == ERROR
        assert collector.span(name)["attributes"]["error.type"] == "KeyError"


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "",
        "00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_traceparent(value: Any) -> None:
    assert parent_of({"traceparent": value}) is None
    assert parent_of(None) is None
