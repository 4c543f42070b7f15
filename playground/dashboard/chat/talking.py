"""What talking does: runs, answers, steering; the screen only shows it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from playground.dashboard.chat.inputs import answer_value, chat_input, resume_input, text_field, user_text
from playground.dashboard.chat.model import Conversation, Session, Turn, sessions_of
from playground.dashboard.control import run_options
from playground.dashboard.details import edge_message
from playground.dashboard.text import GLYPHS, ROLES, Row

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.trace import TraceModel
    from playground.protocol import FlowInfo, Question

MAX_RUNS = 500
"""Of a session, the newest."""


class Talking:
    """The conversation of the moment, and what is said in it."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self.flow: FlowInfo | None = None
        """Who one talks to."""
        self.conversation = Conversation(None, None)
        self.waiting: list[str] = []
        """What was said while a run went on that cannot be steered."""
        self._runs_seen = -1
        self.accepted = ""
        """An answer that was taken, as it was typed."""

    # -- what is shown --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Of the flow."""
        if self.flow is not None:
            return self.flow.name
        return self.conversation.target or "?"

    def sessions(self) -> list[Session]:
        """Conversations with this flow, and those that name none."""
        target = self.conversation.target
        found = sessions_of(self._app.workspace.runs.matching(""))
        shown = [each for each in found if target is None or each.target in {None, target}]
        key = self.conversation.key
        if key is not None and all(each.key != key for each in shown):
            shown.insert(0, Session(key, target))
        return shown

    def state(self) -> Row:
        """How it goes, in a few words."""
        conversation = self.conversation
        if conversation.question is not None or conversation.pause is not None:
            return [("⏸ waits for your answer ", "warn")]
        running = conversation.running
        if running is not None:
            return [("● ", "busy"), ("runs ", "")]
        last = conversation.last
        return [] if last is None else [(f"{GLYPHS.get(last.status, '?')} {last.status} ", ROLES.get(last.status, ""))]

    def follow(self) -> None:
        """Take up what happened. Called once per frame."""
        workspace = self._app.workspace
        if workspace.runs.revision != self._runs_seen and self.conversation.key is not None:
            self._runs_seen = workspace.runs.revision
            self._add_runs(self.conversation)
        self.conversation.follow(workspace.traces, workspace.questions, self._stopped)
        if self.waiting and self.conversation.running is None and self.conversation.pause is None:
            text = "\n".join(self.waiting)
            self.waiting = []
            self._run(text, text_of_input=text)

    def _add_runs(self, conversation: Conversation) -> None:
        """Runs of the session that somebody else began."""
        known = {turn.trace_id for turn in conversation.turns}
        for line in self._app.workspace.runs.running():
            if line.session == conversation.key and line.trace_id not in known:
                trace = self._app.workspace.traces.get(line.trace_id)
                conversation.begin(line.trace_id, _input_of(trace) if trace is not None else "", line.started)

    def _stopped(self, trace_id: str) -> str:
        line = self._app.workspace.runs.get(trace_id)
        return line.stopped if line is not None else ""

    # -- which conversation ---------------------------------------------------------------------------------------

    def open_flow(self, flow: FlowInfo) -> None:
        """Talk to a flow: the session that was used last, or a new one."""
        self.flow = flow
        last = next(
            (each for each in sessions_of(self._app.workspace.runs.matching("")) if each.target == flow.target), None
        )
        if last is None:
            self.conversation = Conversation(None, flow.target)
            self.begin()
        elif self.conversation.key != last.key or self.conversation.target != flow.target:
            self.open(last.key, flow.target)

    def open_run(self, trace_id: str) -> None:
        """The conversation that a run belongs to."""
        line = self._app.workspace.runs.get(trace_id)
        key, target = (line.session, line.target) if line is not None else (None, None)
        self.flow = self._flow_of(target)
        if key is not None:
            if self.conversation.key != key:
                self.open(key, target)
            return
        self.conversation = Conversation(None, target)
        trace = self._app.workspace.traces.get(trace_id)
        if trace is not None:
            self.conversation.begin(trace_id, _input_of(trace), trace.started or 0.0)
        self._load(self.conversation, text=trace_id)

    def open(self, key: str, target: str | None) -> None:
        """A session by its key."""
        self.waiting = []
        self.flow = self._flow_of(target) or self.flow
        self.conversation = Conversation(key, target)
        self._load(self.conversation, session=key)

    def begin(self) -> None:
        """A new session."""
        self.waiting = []
        target = self.flow.target if self.flow is not None else self.conversation.target
        self.conversation = Conversation(f"chat-{uuid4().hex[:8]}", target)

    def _flow_of(self, target: str | None) -> FlowInfo | None:
        flows = (flow for module in self._app.workspace.modules for flow in module.flows)
        return next((flow for flow in flows if flow.target == target), None)

    def _load(self, conversation: Conversation, **query: Any) -> None:
        source = self._app.control.source
        if source is None:
            return
        conversation.loading = True

        async def load() -> None:
            from penguiflow.state.traces import TraceQuery

            try:
                conversation.take(await source.find_traces(TraceQuery(limit=MAX_RUNS, **query)))
            finally:
                conversation.loading = False

        self._app.control.start(load, "chat")

    # -- saying something -----------------------------------------------------------------------------------------

    def say(self, text: str, now: float) -> bool:
        """Answer, steer or start a run; False while it stays in the line: refused, or not accepted yet."""
        source, conversation = self._app.control.source, self.conversation
        if source is None or not source.can_run:
            self._app.say("nothing can be said here: these runs are recorded, or you only look on", "warning")
            return False
        question = conversation.question
        if question is not None:
            self._app.control.start(
                partial(self._answer, question, answer_value(question.value_schema, text), text), "answer"
            )
            return False
        running = conversation.running
        if running is not None:
            self._app.control.start(partial(self._steer, running, text), "steer")
            return True
        return self._run(text, text_of_input=text, now=now)

    def _run(self, text: str, *, text_of_input: str, now: float | None = None) -> bool:
        flow, conversation = self.flow, self.conversation
        if flow is None:
            self._app.say(f"{conversation.target or 'the flow'} is not loaded: nothing can be said to it", "warning")
            return False
        if conversation.key is None:
            conversation.key = f"chat-{uuid4().hex[:8]}"
        if conversation.pause is not None:
            value = resume_input(conversation.pause, text)
        else:
            bases = [*self._app.state.inputs.get(flow.target, []), *flow.samples, flow.defaults]
            try:
                value = chat_input(flow.input_schema, text, conversation.key, bases)
            except ValueError as error:
                self._app.say(str(error), "warning")
                return False
        options = {**run_options(flow), "session": conversation.key}
        self._app.control.start(partial(self._start, flow, value, options, text_of_input, now), "chat-run")
        return True

    async def _start(self, flow: FlowInfo, value: Any, options: dict[str, Any], text: str, now: float | None) -> None:
        import time

        from playground.protocol import Run
        from playground.sources import RunRefused

        source, conversation = self._app.control.source, self.conversation
        if source is None:
            return
        try:
            trace_id = await source.run(Run(target=flow.target, input=value, **options))
        except RunRefused as refusal:
            first = refusal.details[0] if refusal.details else None
            where = f" ({first.get('path')}: {first.get('message')})" if first else ""
            self._app.say(f"{refusal}{where}", "error")
            return
        previous = conversation.last
        if previous is not None and previous.pause is not None:
            previous.pause = None
            previous.revision += 1
        known = next((turn for turn in conversation.turns if turn.trace_id == trace_id), None)
        if known is None:
            conversation.begin(trace_id, text, now if now is not None else time.time())
        else:
            known.user = text
        self._app.control.select(trace_id)

    async def _answer(self, question: Question, value: Any, text: str) -> None:
        from playground.protocol import Answer
        from playground.sources import RunRefused

        source = self._app.control.source
        if source is None:
            return
        try:
            await source.answer_question(Answer(question=question.question, value=value))
        except RunRefused as refusal:
            self._app.say(str(refusal), "warning")
            return
        self.accepted = text
        for turn in self.conversation.turns:
            if turn.trace_id == question.trace_id:
                turn.say(f"answered: {text}")

    async def _steer(self, turn: Turn, text: str) -> None:
        from penguiflow.steering import SteeringEventType
        from playground.protocol import Steer
        from playground.sources import RunRefused

        source = self._app.control.source
        if source is None:
            return
        try:
            await source.steer(
                Steer(trace_id=turn.trace_id, event=SteeringEventType.USER_MESSAGE, payload={"text": text})
            )
        except RunRefused as refusal:
            self.waiting.append(text)
            self._app.say(f"said when the run is over ({refusal})")
            return
        turn.say(f"said meanwhile: {text}")

    def cancel(self) -> None:
        """Refuse to answer, or cancel the run."""
        question, running = self.conversation.question, self.conversation.running
        if question is not None:
            self._app.control.start(partial(self._decline, question), "answer")
        elif running is not None:
            self._app.control.cancel(running.trace_id)
        else:
            self._app.say("nothing runs, and nothing is asked", "warning")

    async def _decline(self, question: Question) -> None:
        from playground.protocol import Answer
        from playground.sources import RunRefused

        source = self._app.control.source
        if source is not None:
            try:
                await source.answer_question(Answer(question=question.question, declined=True))
            except RunRefused as refusal:
                self._app.say(str(refusal), "warning")

    def can_talk_to(self, flow: FlowInfo) -> bool:
        """Whether its input has a place for a text."""
        return text_field(flow.input_schema) is not None


def _input_of(trace: TraceModel) -> str:
    """What somebody said to a run."""
    entered = edge_message(trace, "OpenSea")
    payload = entered.get("payload") if entered is not None else None
    value = payload.get("value") if isinstance(payload, dict) and "value" in payload else payload
    return "" if value is None else user_text(value)
