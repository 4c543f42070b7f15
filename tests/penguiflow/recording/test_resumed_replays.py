"""A trace that was resumed is replayed like one that was not."""

from __future__ import annotations

from typing import Any

from penguiflow import Context, Headers, Message, Node, NodePolicy, create
from penguiflow.recording import Recorder
from penguiflow.recording.cassette import Cassette


async def test_an_invocation_that_began_again_counts_once(sink: Any) -> None:
    async def fetch(text: str) -> str:
        return text.upper()

    async def ask(message: Message, ctx: Context) -> str:
        return str(await ctx.record("fetch", fetch, message.payload))

    flow = create(Node(ask, name="ask", policy=NodePolicy(validate="none")).to())
    flow.run(recorder=Recorder(sink))
    await flow.call(Message(payload="it", headers=Headers(tenant="acme")))
    await flow.stop()
    events = sink.events()
    first = next(index for index, event in enumerate(events) if event.kind == "node.start")
    lost = events[first : first + 2]  # it began, and its process was killed
    again = [*events[:first], *(event._replace(span_id=f"{event.span_id}-lost") for event in lost), *events[first:]]
    assert [call.after for call in Cassette.of(events).calls] == [1]
    assert [call.after for call in Cassette.of(again).calls] == [1]
