"""A dashboard as one would write it first: a message, a `RichLog.write` and a `Tree.add_leaf` for each event.

`benchmarks.dashboard_load` types the same keys into it as into `pf tui`, and the same host feeds it.
"""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import OptionList, RichLog, Tree

from playground.live import LiveSource
from playground.project import find_project
from playground.protocol import Run

LOOK_S = 0.005


class Arrived(Message):
    """One event."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.raw = raw


class StockApp(App[None]):
    """Flows, a tree and a log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("j", "down", "Down"),
        ("k", "up", "Up"),
        ("r", "run_storm", "Run"),
        ("q", "quit", "Quit"),
    ]

    def compose(self) -> ComposeResult:
        """Three widgets beside each other."""
        with Horizontal():
            yield OptionList(id="flows")
            yield Tree("trace")
            yield RichLog()

    async def on_mount(self) -> None:
        """Begin to listen."""
        self.source = LiveSource(find_project([]))
        await self.source.start()
        self.listening = asyncio.create_task(self.listen())

    async def listen(self) -> None:
        """Pass everything on, an event at a time."""
        inbox = self.source.inbox
        while True:
            if inbox.modules is not None:
                flows = self.query_one(OptionList)
                flows.clear_options()
                flows.add_options([flow.name for module in inbox.modules for flow in module.flows])
                flows.highlighted = 0
                inbox.modules = None
            while inbox.events:
                self.post_message(Arrived(inbox.events.popleft()))
            await asyncio.sleep(LOOK_S)

    def on_arrived(self, message: Arrived) -> None:
        """Show an event."""
        event = json.loads(message.raw)
        self.query_one(RichLog).write(f"{event['seq']} {event['kind']} {event['name']}")
        if event["kind"] == "node.start":
            self.query_one(Tree).root.expand().add_leaf(event["name"])

    def action_down(self) -> None:
        """The next flow."""
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        """The flow before."""
        self.query_one(OptionList).action_cursor_up()

    async def action_run_storm(self) -> None:
        """Run the flow that emits."""
        await self.source.run(Run(target="flows/storm.py", input={}))

    async def on_unmount(self) -> None:
        """End the host."""
        self.listening.cancel()
        await self.source.stop()


if __name__ == "__main__":
    StockApp().run()
