"""The spans of a run, printed as a collector would get them."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, NodePolicy, configure_logging, create
from penguiflow.recording import Recorder


class Question(BaseModel):
    """What somebody wants to know."""

    text: str


class Answer(BaseModel):
    """What is known of it."""

    text: str


async def look_up(question: Question, ctx: Context) -> Question:
    """Fails the first time, as networks do."""
    tries = ctx.trace_state.setdefault("tries", 0)
    ctx.trace_state["tries"] = tries + 1
    if not tries:
        raise ConnectionError("no answer")
    return question


async def answer(question: Question, ctx: Context) -> Answer:
    """Ask somebody who knows: the call is recorded, and part of the trace."""
    fact = await ctx.record("encyclopedia", str.capitalize, question.text)
    return Answer(text=f"{fact}: yes.")


look_up_node = Node(look_up, policy=NodePolicy(max_retries=1, backoff_base=0.001))
answer_node = Node(answer)

flow = create(look_up_node.to(answer_node))

registry = ModelRegistry()
registry.register("look_up", Question, Question)
registry.register("answer", Question, Answer)

__flow__ = {"title": "OpenTelemetry", "samples": [{"text": "can penguins swim"}]}


async def main() -> None:
    """Ask one question and print its spans, in the order in which they ended."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from penguiflow.otel import SpanSink

    configure_logging("CRITICAL")  # the spans tell what the log would tell again, with tracebacks
    spans = InMemorySpanExporter()
    sink = SpanSink(SimpleSpanProcessor(spans))
    flow.run(registry=registry, recorder=Recorder(sink, name="ask"))
    await flow.call(Message(payload=Question(text="can penguins swim"), headers=Headers(tenant="acme")))
    await flow.stop()
    for span in spans.get_finished_spans():
        error = (span.attributes or {}).get("error.type")
        print(span.name, f"failed: {error}" if error else "ok", *(event.name for event in span.events), sep=", ")
    sink.close()


if __name__ == "__main__":
    asyncio.run(main())
