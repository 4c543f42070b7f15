"""No stored piece is passed over that holds what is looked for."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from penguiflow import Headers, Message, Node, NodePolicy, create
from penguiflow.state import SQLiteStateStore
from penguiflow.state.chunks import unpack
from penguiflow.state.sieve import may_hold

TRACE = "f" * 32
ABSENT = [b"needle", b"kind_", b"stream.chunks", b"node.retry", b"7777777", b"st\xc3\xbcck", b"true"]


async def goes_on(message: Message, ctx: Any) -> Message:
    return message


def chunks(number: int) -> int:
    return 2 + number % 3


async def tells(message: Message, ctx: Any) -> None:
    for number in range(chunks(message.payload["number"])):
        text = f"Line {number}\n" if number else ""
        await ctx.emit_chunk(parent=message, text=text, meta={"channel": "answer"} if number == 2 else None)


async def waits(message: Message, ctx: Any) -> Message:
    await asyncio.sleep(0)
    return message


async def recorded(folder: Path) -> list[tuple[bytes, list[bytes]]]:
    """Stored pieces of a flow that hops, streams and waits, each with its events as JSON."""
    store = SQLiteStateStore(folder / "state.db", inline_bytes=4000)
    policy = NodePolicy(validate="none")
    nodes = [Node(function, name=function.__name__, policy=policy) for function in (goes_on, waits, tells)]
    again = Node(goes_on, name='a"b', policy=policy)
    flow = create(nodes[0].to(again), again.to(nodes[1]), nodes[1].to(nodes[2]), nodes[2].to())
    flow.run(recorder=store.recorder())

    async def take_all() -> None:
        for number in range(60):
            for _ in range(chunks(number)):
                await flow.fetch()

    taking = asyncio.create_task(take_all())
    for number in range(60):
        payload = {"number": number, "text": "x" * 5000 if number == 30 else "Grün"}
        await flow.emit(Message(payload=payload, headers=Headers(tenant="t"), trace_id=TRACE))
        if number % 20 == 19:
            await store.flush()
    await taking
    await flow.stop(drain=True)
    await store.flush()
    pieces = await store.open_pieces(TRACE)
    found = [(pieces.data(number), pieces.lines(number)) for number in range(len(pieces))]
    await store.close()
    return found


async def test_every_word_of_every_event_is_let_through(tmp_path: Path) -> None:
    chance = random.Random(11)
    pieces = await recorded(tmp_path)
    # Which pieces are lists of hops depends on when the writer looks; that of streams is always there.
    assert any(data.partition(b"\n")[0].endswith(b"]]]]") for data, _ in pieces)
    for data, lines in pieces:
        for line in lines:
            text = line[line.index(b'"kind":') :].lower()
            for _ in range(60):
                begin = chance.randrange(len(text))
                word = text[begin : begin + chance.randint(1, 9)]
                assert may_hold(data, word), (word, line)


async def test_a_word_that_no_event_has_passes_most_pieces_over(tmp_path: Path) -> None:
    for data, lines in await recorded(tmp_path):
        if b"$artifact" in data:
            continue
        for word in ABSENT:
            if not any(word in line.lower() for line in lines):
                assert not may_hold(data, word), word


@pytest.mark.parametrize("data", [b'{"seq":0}', b'[0,["0"],[null],[1.0],[0],["hop.on"],["n"]]\n{}'])
def test_what_earlier_versions_wrote_is_always_looked_at(data: bytes) -> None:
    assert may_hold(data, b"needle")


def test_a_damaged_piece_is_looked_at_and_told_of_then() -> None:
    data = b'[0,[],[],[],[],[],[],[[1],[1],"0",[["x"]]]]\n'
    assert may_hold(data, b"17")
    with pytest.raises(sqlite3.DatabaseError):
        unpack(data)


def test_letters_of_either_size_are_found_and_signs_mean_themselves() -> None:
    data = b'[0,[],[],[],[],[],[]]\n{"text":"A.Needle (x) Gr\xc3\xbcn"}'
    assert all(may_hold(data, word) for word in (b"needle", b"NEEDLE", b"a.need", b"(x)", b"gr\xc3\xbcn"))
    assert not any(may_hold(data, word) for word in (b"a.n.edle", b"(y)", b"gr\xc3\xbdn", b"x|y"))
