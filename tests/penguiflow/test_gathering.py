"""What a node gathers in its state is written once, however much it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from penguiflow import Context, Message, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start


class Entry(BaseModel):
    """A thing that could change after it was kept."""

    number: int


@pytest.mark.parametrize("count", [200, 400])
async def test_a_long_list_of_models_is_written_item_by_item(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, count: int
) -> None:
    async def fan(message: Message, ctx: Context) -> None:
        for number in range(count):
            await ctx.emit(message.model_copy(update={"payload": number}))

    async def gather(message: Message, ctx: Context) -> Message | None:
        entries: list[Any] = ctx.trace_state.setdefault("entries", [])
        entries.append(Entry(number=message.payload))
        return message.model_copy(update={"payload": len(entries)}) if len(entries) == count else None

    flow = start(create(make_node(fan).to(make_node(gather, name="gather"))), recorder=recorder)
    assert (await flow.call(make_message("go"))).payload == count
    changes = [event.data for event in recorder.only().of_kind("context.changed")]
    assert len(changes) == count
    late = changes[100:]
    assert all(set(change) == {"added", "hold"} and len(change["added"]["entries"]) == 1 for change in late)
