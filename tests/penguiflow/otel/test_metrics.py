"""What remote calls and models cost, as a collector gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from penguiflow import (
    FlowError,
    Headers,
    Message,
    NodePolicy,
    RemoteCallRequest,
    RemoteCallResult,
    RemoteNode,
    RemoteStreamEvent,
    create,
)
from penguiflow.otel import ModelMetrics, RemoteMetrics, SpanSink, otlp_sink
from penguiflow.recording import Recorder

PLAIN = NodePolicy(validate="none", max_retries=0)


class Agent:
    """Answers, fails, streams, or never ends: as the payload says."""

    def __init__(self) -> None:
        self.started = asyncio.Event()

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        if request.message.payload == "fail":
            raise ConnectionError("gone")
        return RemoteCallResult(result="four")

    async def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        yield RemoteStreamEvent(text="abc", task_id="t1")
        if request.message.payload == "forever":
            self.started.set()
            await asyncio.Event().wait()
        yield RemoteStreamEvent(text="de", result="done", done=True)

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        await asyncio.sleep(0)


def provider_to(collector: Any) -> MeterProvider:
    exporter = OTLPMetricExporter(collector.url + "/v1/metrics")
    return MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)])


def message(payload: str) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"))


async def test_remote_calls(collector: Any) -> None:
    provider = provider_to(collector)
    agent = Agent()

    def flow(streaming: bool) -> Any:
        node = RemoteNode(
            transport=agent, skill="s", agent_url="http://agent:81/x", name="remote", policy=PLAIN, streaming=streaming
        )
        return create(node.to(), middlewares=[RemoteMetrics(provider)])

    plain, streams = flow(False), flow(True)
    plain.run()
    streams.run()
    await plain.call(message("ask"))
    await plain.call(message("again"))
    with pytest.raises(FlowError):
        await plain.call(message("fail"))
    await streams.call(message("pieces"))
    endless = message("forever")
    call = asyncio.create_task(streams.call(endless))
    async with asyncio.timeout(60):
        await agent.started.wait()
        await streams.cancel(endless.trace_id)
        with pytest.raises(FlowError):
            await call
    await plain.stop()
    await streams.stop()
    provider.shutdown()

    found = collector.metrics
    calls = {
        (point["attributes"]["penguiflow.remote.streaming"], point["attributes"]["penguiflow.remote.status"]): point
        for point in found["penguiflow.remote.calls"]
    }
    assert {key: point["sum"] for key, point in calls.items()} == {
        (False, "success"): 2,
        (False, "error"): 1,
        (True, "success"): 1,
    }
    about = calls[False, "error"]["attributes"]
    assert (about["server.address"], about["server.port"], about["penguiflow.remote.skill"]) == ("agent", 81, "s")
    assert sum(point["count"] for point in found["penguiflow.remote.duration"]) == 4
    assert all(0 <= point["sum"] < 120 for point in found["penguiflow.remote.duration"])
    assert {point["unit"] for point in found["penguiflow.remote.duration"]} == {"s"}
    assert sum(point["sum"] for point in found["penguiflow.remote.request.size"]) == len("askagainfailpiecesforever")
    assert sum(point["sum"] for point in found["penguiflow.remote.response.size"]) == len("fourfourdone")
    assert sum(point["sum"] for point in found["penguiflow.remote.chunks.size"]) == len("abcdeabc")
    (cancel,) = found["penguiflow.remote.cancel.duration"]
    assert (cancel["count"], cancel["attributes"]["penguiflow.remote.status"]) == (1, "cancelled")
    assert not any("trace" in name for points in found.values() for point in points for name in point["attributes"])


async def test_models(collector: Any) -> None:
    provider = provider_to(collector)
    sink: SpanSink = otlp_sink(collector.url, metrics=ModelMetrics(provider))
    log = Recorder(sink).open("t")
    for tokens in (3, 4):
        span = log.start("llm", "chat", log.root, {"model": "gpt-x"})
        log.end("llm", "chat", span, log.root, "ok", {"usage": {"input_tokens": tokens, "output_tokens": 1}})
    log.close("ok")
    sink.close()
    provider.shutdown()
    (duration,) = collector.metrics["gen_ai.client.operation.duration"]
    assert duration["count"] == 2
    assert duration["attributes"] == {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-x"}
    counted = {
        point["attributes"]["gen_ai.token.type"]: point["sum"]
        for point in collector.metrics["gen_ai.client.token.usage"]
    }
    assert counted == {"input": 7, "output": 2}
