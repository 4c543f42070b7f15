"""What becomes of a stopped run: asked of its host, and what it will not do is said."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from playground.dashboard.debugging.model import Place, where

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.debugging.area import DebuggingArea
    from playground.dashboard.editing.editor import Refusals
    from playground.protocol import Decide, Stopped
    from playground.sources import RunRefused, Source

DECIDED = frozenset({"after_decision", "before_tool", "before_join", "before_finish"})
"""Checkpoints at which a decision lies open."""


class Steps:
    """Sends decisions, and keeps what was edited until the run goes on."""

    def __init__(self, app: DashboardApp, area: DebuggingArea) -> None:
        self._app = app
        self._area = area
        self._drafts: dict[str, dict[str, Any]] = {}
        """Edits by stop: new values by JSON Pointer into the payload."""
        self._sent: set[str] = set()
        """Stops that were decided upon, and not answered yet."""
        self._awaited: set[str] = set()
        """Runs whose next stop somebody waits for."""

    def awaits(self, stop: Stopped) -> bool:
        """Whether the run was stepped, or run to stop; asked once."""
        if stop.trace_id in self._awaited:
            self._awaited.discard(stop.trace_id)
            return True
        return False

    def draft(self, stop: Stopped) -> dict[str, Any]:
        """What was edited and goes on with the run."""
        return self._drafts.get(stop.stop, {})

    # -- keys -----------------------------------------------------------------------------------------------------

    def go_on(self, then: str, *, to: Place | None = None) -> None:
        """Let the run that is looked at go on, with what was edited."""
        stop = self._stop()
        if stop is None:
            return
        from playground.breakpoints import Breakpoint
        from playground.protocol import Decide

        draft = self.draft(stop)
        fields: dict[str, Any] = {"stop": stop.stop, "then": then}
        if draft:
            fields["action"] = "edit"
            # All of the payload has no pointer of its own in a document.
            fields |= {"value": draft[""]} if "" in draft else {"edits": draft}
        if to is not None:
            fields["to"] = Breakpoint.model_validate({"id": "here", "on": to.on, "name": to.name, "kind": to.kind})
        if then != "continue" or to is not None:
            self._awaited.add(stop.trace_id)
        self._send(stop, Decide.model_validate(fields))

    def run_to(self, place: Place) -> None:
        """Let it go on until it comes to a place."""
        self.go_on("continue", to=place)

    def simple(self, action: str) -> None:
        """Try again, or abort."""
        stop = self._stop()
        if stop is None:
            return
        if action not in stop.actions:
            self._app.say(f"{where(stop)} nothing can be tried again", "warning")
            return
        from playground.protocol import Decide

        value = "from the dashboard" if action == "abort" else None
        self._send(stop, Decide.model_validate({"stop": stop.stop, "action": action, "value": value}))

    def replace(self) -> None:
        """Edit the decision, where there is one."""
        stop = self._stop()
        if stop is None:
            return
        if stop.kind in DECIDED:
            self.edit()
        else:
            self._app.say(f"no decision lies open {where(stop)}: step to one, or b on a step stops there", "warning")

    def edit(self) -> None:
        """Open the payload in the editor."""
        stop = self._stop()
        if stop is None:
            return
        if "edit" not in stop.actions:
            self._app.say(f"{where(stop)} nothing can be edited", "warning")
            return
        self._open(stop)

    def skip(self) -> None:
        """Ask for the result."""
        stop = self._stop()
        if stop is None:
            return
        if "skip" not in stop.actions:
            self._app.say(f"{where(stop)} there is nothing to skip", "warning")
            return
        from playground.dashboard.editing.editor import EditorScreen, Subject
        from playground.dashboard.editing.schemas import skeleton

        about = "what stands here takes the place of the call; ctrl+s lets the run go on"
        # Boundary: the schema is the user's, and may be anything.
        try:
            value = skeleton(stop.result_schema)
        except Exception:
            value = None
        subject = Subject(f"skip {_named(stop)}", value, stop.result_schema, about)
        self._app.push_screen(EditorScreen(subject, partial(self._give, stop, "skip")))

    def inject(self) -> None:
        """Ask for one message more: to the planner, or to what comes after the node."""
        stop = self._stop()
        if stop is None:
            return
        if "inject" not in stop.actions:
            self._app.say(f"{where(stop)} nothing can be put in", "warning")
            return
        if self.draft(stop):
            self._app.say("what was edited would be lost: c goes on with it", "warning")
            return
        from playground.dashboard.editing.editor import EditorScreen, Subject

        if of_node(stop):
            about = f"{stop.name} sends this payload too; ctrl+s lets it go on"
            subject = Subject("one message more", _payload(stop), None, about)
        else:
            about = "a text for the planner: it stands in its next prompt; ctrl+s lets the run go on"
            subject = Subject("a note to the planner", "", {"type": "string", "minLength": 1}, about)
        self._app.push_screen(EditorScreen(subject, partial(self._give, stop, "inject")))

    def halt(self) -> None:
        """Stop the run that is shown at its next checkpoint."""
        trace = self._app.workspace.current
        if trace is None or trace.over:
            self._app.say("this run is over" if trace else "no run is shown", "warning")
        elif self._area.stop is not None:
            self._app.say(f"it has stopped already, {where(self._area.stop)}")
        elif (source := self._source()) is not None:
            self._awaited.add(trace.trace_id)
            self._app.control.start(partial(self._halt, source, trace.trace_id), "halt")

    # -- the editor -----------------------------------------------------------------------------------------------

    def _open(self, stop: Stopped, refused: Refusals = ()) -> None:
        """Edit the part of the payload that may be edited. What is applied goes on with the next step."""
        if stop.payload is None and stop.bytes is not None:
            self._app.say("it is too large to be shown, and to be edited here", "warning")
            return
        from penguiflow.recording.pointers import NOTHING, find, parts_of
        from playground.dashboard.editing.editor import EditorScreen, Subject

        parts = parts_of(stop.value_at) if stop.value_at else []
        before = find(stop.payload, parts)
        if before is NOTHING:
            self._app.say(f"there is nothing at {stop.value_at}", "error")
            return
        value = _with_edits(before, self.draft(stop), stop.value_at)
        about = "ctrl+s keeps it for this stop; c, s, o or O let the run go on with it"
        subject = Subject(f"edit {where(stop)}", value, stop.value_schema, about, before=before)
        self._app.push_screen(EditorScreen(subject, partial(self._keep, stop, before), refused=refused))

    async def _keep(self, stop: Stopped, before: Any, value: Any) -> Refusals:
        from playground.dashboard.editing.changes import change

        edits = {stop.value_at + place: new for place, new in change(before, value).edits.items()}
        if edits:
            self._drafts[stop.stop] = edits
        else:
            self._drafts.pop(stop.stop, None)
        return []

    async def _give(self, stop: Stopped, action: Literal["skip", "inject"], value: Any) -> Refusals:
        from playground.protocol import Decide
        from playground.sources import RunRefused

        source = self._source()
        if source is None:
            return [{"path": "", "message": "nobody is there who could be told"}]
        try:
            await source.decide(Decide(stop=stop.stop, action=action, value=value))
        except RunRefused as refusal:
            return refusal.details or [{"path": "", "message": str(refusal)}]
        return []

    # -- inside ---------------------------------------------------------------------------------------------------

    def _stop(self) -> Stopped | None:
        """The stop that keys are for; says why there is none."""
        stop = self._area.stop
        if stop is None:
            others = len(self._area.stops)
            more = f"; . goes to {'the one' if others == 1 else f'one of the {others}'} that has" if others else ""
            self._app.say(f"no run that is shown has stopped{more}", "warning")
            return None
        if stop.stop in self._sent:
            return None
        return stop if self._source() is not None else None

    def _source(self) -> Source | None:
        source = self._app.control.source
        if source is None or not source.can_decide:
            self._app.say("who only looks on decides nothing" if source else "not ready yet", "warning")
            return None
        return source

    def _send(self, stop: Stopped, request: Decide) -> None:
        source = self._source()
        if source is not None:
            self._sent.add(stop.stop)
            self._app.control.start(partial(self._decide, source, stop, request), "decide")

    async def _decide(self, source: Source, stop: Stopped, request: Decide) -> None:
        from playground.sources import RunRefused

        try:
            await source.decide(request)
        except RunRefused as refusal:
            self._awaited.discard(stop.trace_id)
            self._refused(stop, request, refusal)
        else:
            self._drafts.pop(stop.stop, None)
        finally:
            self._sent.discard(stop.stop)

    def _refused(self, stop: Stopped, request: Decide, refusal: RunRefused) -> None:
        if refusal.details and request.action == "edit" and len(self._app.screen_stack) == 1:
            self._open(stop, refusal.details)
            return
        about = "; ".join(f"{each.get('path') or 'it'}: {each.get('message')}" for each in refusal.details)
        self._app.say(about or str(refusal), "error")

    async def _halt(self, source: Source, trace_id: str) -> None:
        if not await source.halt(trace_id):
            self._awaited.discard(trace_id)
            self._app.say(f"{trace_id[:8]} was already over")


def of_node(stop: Stopped) -> bool:
    """Whether it is a node that has stopped, and not a planner in it."""
    innermost = stop.path[-1] if stop.path else ""
    return stop.kind in {"before_node", "after_node"} or (
        stop.kind == "on_error" and innermost.startswith(("node:", "attempt:"))
    )


def _payload(stop: Stopped) -> Any:
    """What the message carries that the node has stopped with; an error carries nothing."""
    if stop.kind == "on_error":
        return None
    shown = stop.payload
    return shown["payload"] if isinstance(shown, dict) and {"payload", "headers", "trace_id"} <= shown.keys() else shown


def _named(stop: Stopped) -> str:
    return stop.name if stop.kind in {"before_node", "on_error"} else where(stop).removeprefix("before ")


def _with_edits(before: Any, edits: dict[str, Any], root: str) -> Any:
    """A value with what was edited of it, by pointers from above it."""
    from copy import deepcopy

    from penguiflow.recording.pointers import assign, parts_of

    value = deepcopy(before)
    for place, new in edits.items():
        inner = place.removeprefix(root)
        if inner:
            assign(value, parts_of(inner), deepcopy(new))
        else:
            value = deepcopy(new)
    return value
