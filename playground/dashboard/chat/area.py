"""The area of talking: its key, its commands, and news of runs that ask something."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from playground.dashboard.areas import Area, Command, key
from playground.dashboard.bars import Key
from playground.dashboard.chat.talking import Talking
from playground.dashboard.layout import FLOWS
from playground.dashboard.text import clip, one_line

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.protocol import FlowInfo

TICK_S = 0.05


class ChatArea(Area):
    """Talk to whatever has a session, and answer what runs ask."""

    name = "chat"
    BINDINGS: ClassVar[list[Binding]] = [key("w", "chat", "open", "Write: chat, or answer")]
    GENERAL: ClassVar[list[tuple[str, str]]] = [
        ("w", "write: talk to the selected flow, go on with the session of a run, or answer what it asks"),
    ]

    def __init__(self, app: DashboardApp) -> None:
        super().__init__(app)
        self.talking = Talking(app)
        self._told: set[str] = set()
        """Questions that somebody was told of."""
        self._open = False

    def frame(self) -> None:
        """Take up what happened, and tell of new questions."""
        self.talking.follow()
        questions = self.app.workspace.questions
        for question in questions:
            if question.question in self._told:
                continue
            self._told.add(question.question)
            if not (self._open and self.talking.conversation.question is question):
                prompt = clip(one_line(question.prompt), 120)
                self.app.say(f"⏸ {question.trace_id[:8]} asks: {prompt} · w answers", "warning")
        if not questions:
            self._told.clear()

    def footer(self) -> list[Key] | None:
        """A run that is shown and asks something is to be answered."""
        trace = self.app.workspace.current
        if trace is None or self.app.pane.id == FLOWS:
            return None
        if any(each.trace_id == trace.trace_id for each in self.app.workspace.questions):
            return [Key("w", "answer", "do('chat', 'open')"), Key("x", "cancel", "cancel_run")]
        return None

    def commands(self) -> Iterator[Command]:
        """Talk to each flow that has a place for a text."""
        for question in self.app.workspace.questions:
            prompt = clip(one_line(question.prompt), 60)
            yield f"answer: {prompt}", f"asked by {question.trace_id[:8]}", partial(self.open_run, question.trace_id)
        for _, flow in self.app.flows.rows:
            if flow is not None and self.talking.can_talk_to(flow):
                yield (
                    f"chat: {one_line(flow.name)}",
                    "its sessions, and a line to type in",
                    partial(self.open_flow, flow),
                )

    # -- keys -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Answer the run that is shown, go on with its session, or talk to the flow under the cursor."""
        app = self.app
        trace, questions = app.workspace.current, app.workspace.questions
        shown = trace.trace_id if trace is not None else None
        if any(each.trace_id == shown for each in questions) or (app.pane.id != FLOWS and shown is not None):
            self.open_run(str(shown))
        elif questions and app.flows.flow is None:
            self.open_run(questions[0].trace_id)
        elif app.flows.flow is not None:
            self.open_flow(app.flows.flow)
        else:
            app.say("no flow is selected, and nothing is asked", "warning")

    def open_flow(self, flow: FlowInfo) -> None:
        """Talk to a flow."""
        if not self.talking.can_talk_to(flow):
            self.app.say(f"{flow.name} takes no text: Enter opens its form", "warning")
            return
        self.talking.open_flow(flow)
        self._show()

    def open_run(self, trace_id: str) -> None:
        """The conversation of a run."""
        self.talking.open_run(trace_id)
        self._show()

    def _show(self) -> None:
        from playground.dashboard.chat.screen import ChatScreen

        def left(trace_id: str | None) -> None:
            self._open = False
            if trace_id is not None:
                from playground.dashboard.commands import go_run

                go_run(self.app, trace_id)

        self._open = True
        self.app.push_screen(ChatScreen(self.talking, self.app.palette, tick_s=TICK_S), left)
