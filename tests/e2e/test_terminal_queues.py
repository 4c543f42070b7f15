"""Edges of a distributed flow in a terminal, by every key of their screen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from benchmarks.hands import DOWN, ESCAPE, F1, Hands
from benchmarks.terminal import PF
from penguiflow.bus import BusMessage, Limits, open_bus

if TYPE_CHECKING:
    from tests.bus_servers import BusServer

LOUD = """
    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create


    class Text(BaseModel):
        text: str = "hello"


    async def loud(message: Text, ctx) -> Text:
        return Text(text=message.text.upper())


    flow = create(Node(loud, name="terminal-loud").to())
    registry = ModelRegistry()
    registry.register("terminal-loud", Text, Text)
"""
EDGE = "OpenSea->terminal-loud"


def bury(url: str) -> None:
    """Put three messages on the edge, none of which can be handled."""

    async def work() -> None:
        bus = open_bus(url, Limits(max_deliveries=1))
        await bus.open("terminal-loud", [EDGE])
        for number in range(3):
            await bus.put(EDGE, BusMessage(f"trace/letter{number}", b'{"format":1,"type":"json"}\n{"text":"x"}'))
        for delivery in await bus.get(EDGE, limit=3):
            await bus.dead_letter(delivery, "it is poison")
        await bus.close()

    asyncio.run(work())


def test_queues_by_every_key(valkey_server: BusServer, project: Path) -> None:
    (project / "loud.py").write_text(dedent(LOUD))
    bury(valkey_server.url)
    environment = {**os.environ, "PENGUIFLOW_BUS": valkey_server.url}
    with Hands([PF, "tui", "loud.py"], cwd=project, size=(150, 44), env=environment) as hands:
        hands.until_shown("loud", "ready")
        hands.brings(b"Q", "QUEUES loud.py", EDGE, "3 dead", "it is poison")
        hands.press(b"y")
        hands.until_so(lambda: b"\x1b]52;c;" in hands.output, "nothing is copied")
        hands.brings(b"G" + b"d", "Drop this dead letter")
        hands.clears(ESCAPE, "Drop this dead letter")
        hands.brings(b"d", "Drop this dead letter")
        hands.brings(b"\r", "2 dead")
        hands.brings(b"g" + DOWN + b"p", "Put back all 2 dead letters")
        hands.clears(b"\r", "it is poison")
        hands.press(b"r")
        hands.until_shown("nobody")
        for keys in (b"?", F1):
            hands.brings(keys, "QUEUES · keys")
            hands.clears(ESCAPE, "QUEUES · keys")
        for keys in (b"q", b"Q", ESCAPE):
            hands.clears(keys, "QUEUES loud.py")
            hands.brings(b"Q", "QUEUES loud.py")
