"""Where runs are to stop: from what the cursor is on, or from what somebody chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from playground.dashboard.debugging.model import Place, place_of
from playground.dashboard.layout import FLOWS, INSPECT, TRACE

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span
    from playground.breakpoints import Breakpoint
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.debugging.area import DebuggingArea
    from playground.protocol import FlowInfo
    from playground.sources import Source

_ON = {"node": "node", "attempt": "node", "tool": "tool", "join": "tool", "branch": "tool"}


def place_at(span: Span | None) -> Place | None:
    """Where a run comes to what a span is."""
    if span is None:
        return None
    if span.kind in _ON:
        return Place(_ON[span.kind], span.name)
    if span.kind == "llm":
        return Place("kind", span.name, "before_llm")
    return Place("kind", None, "after_decision") if span.kind in {"step", "planner"} else None


def offered(flow: FlowInfo | None) -> list[Place]:
    """Everywhere a flow can be stopped."""
    found: list[Place] = []
    planner = False
    if flow is not None:
        planner = flow.kind == "planner" or bool(flow.tools)
        found += [Place("tool", name) for name in flow.tools]
        found += [Place("node", node.name) for node in flow.nodes]
    kinds = ["after_decision", "before_llm", "before_finish", "before_join", "after_tool"]
    if planner or flow is None or flow.kind != "flow":
        found += [Place("kind", None, kind) for kind in kinds]
    found += [Place("error"), Place("kind", None, "after_node")]
    if not planner and flow is not None and flow.kind == "flow":
        # Nodes may have planners in them too.
        found += [Place("kind", None, kind) for kind in kinds]
    found.append(Place("any"))
    return found


class _Change(NamedTuple):
    """Of the project's breakpoints: those to be there, the ids of those not to be, and what to say then."""

    put: Sequence[Breakpoint] = ()
    remove: Sequence[str] = ()
    said: str = ""


class Places:
    """Changes breakpoints."""

    def __init__(self, app: DashboardApp, area: DebuggingArea) -> None:
        self._app = app
        self._area = area
        self._in_turn = asyncio.Lock()

    def here(self) -> Place | None:
        """What the cursor of the trace is on, or that of a graph."""
        view = self._app.pane.view
        named = view.place()
        if named is not None:
            return Place(*named)
        if self._app.pane.id in {TRACE, INSPECT}:
            return place_at(self._app.spans.span)
        return None

    def _flow(self) -> FlowInfo | None:
        """The flow that is meant: that of the trace that is shown, unless the flows have the focus."""
        app, trace = self._app, self._app.workspace.current
        if app.pane.id == FLOWS or trace is None:
            return app.flows.flow
        return next((flow for _, flow in app.flows.rows if flow is not None and flow.target == trace.target), None)

    def toggle_here(self) -> None:
        """Set a breakpoint where the cursor is, or take it away; ask where it is nowhere."""
        place = self.here()
        if place is None:
            self.ask(None)
            return
        flow = self._flow()
        target = flow.target if flow is not None else None
        self._change(partial(self._toggled, place, target))

    def _toggled(self, place: Place, target: str | None) -> _Change:
        known = self._area.points.at(place, target)
        if known:
            return _Change(remove=[each.id for each in known], said=f"no breakpoint at {place.text()} any more")
        from playground.breakpoints import Breakpoint

        fields = {"on": place.on, "name": place.name, "kind": place.kind, "target": target}
        return self._added(Breakpoint.model_validate({"id": self._area.points.new_id(), **fields}))

    def _added(self, new: Breakpoint) -> _Change:
        said = "" if self._area.points.get(new.id) else f"breakpoint at {place_of(new).text()}"
        return _Change(put=[new], said=said)

    def toggle(self, id: str) -> None:
        """Switch one on or off."""
        self._change(partial(self._changed, id, lambda known: {"enabled": not known.enabled}))

    def change(self, known: Breakpoint, **fields: Any) -> None:
        """Change one."""
        self._change(partial(self._changed, known.id, lambda _: fields))

    def _changed(self, id: str, fields: Callable[[Breakpoint], dict[str, Any]]) -> _Change:
        known = self._area.points.get(id)
        return _Change() if known is None else _Change(put=[known.model_copy(update=fields(known))])

    def remove(self, known: Breakpoint) -> None:
        """Take one away."""
        said = f"no breakpoint at {place_of(known).text()} any more"
        self._change(lambda: _Change(remove=[known.id], said=said))

    def ask(self, known: Breakpoint | None) -> None:
        """Ask for place and condition; of a breakpoint that there is, or of a new one."""
        from playground.dashboard.debugging.break_form import BreakForm

        flow = self._flow()
        if known is not None:
            place: Place | None = place_of(known)
            target = known.target
        else:
            place, target = self.here(), flow.target if flow is not None else None
        offers = offered(flow)
        if place is not None and place not in offers:
            offers.insert(0, place)
        marks = {each for each in offers if self._area.points.at(each, target)}
        form = BreakForm(offers, marked=marks, place=place, known=known, target=target)
        self._app.push_screen(form, partial(self._answered, known))

    def _answered(self, known: Breakpoint | None, answer: dict[str, Any] | None) -> None:
        if answer is None:
            return
        from playground.breakpoints import Breakpoint

        fields = {} if known is None else {"enabled": known.enabled, "hits": known.hits}

        def changed() -> _Change:
            name = self._area.points.new_id() if known is None else known.id
            return self._added(Breakpoint.model_validate({**fields, **answer, "id": name}))

        self._change(changed)

    def _change(self, change: Callable[[], _Change]) -> None:
        """Change what there is by then: keys may come faster than the host answers."""
        app = self._app
        source = app.control.source
        if source is None or not source.can_decide:
            app.say("breakpoints cannot be set here" if source else "not ready yet", "warning")
            return
        app.control.start(partial(self._send, source, change), "breakpoints")

    async def _send(self, source: Source, change: Callable[[], _Change]) -> None:
        from playground.sources import RunRefused

        async with self._in_turn:
            put, remove, said = change()
            if not put and not remove:
                return
            try:
                answer = await source.set_breakpoints(list(put), list(remove))
            except RunRefused as refusal:
                self._app.say(str(refusal), "error")
                return
            self._area.points.take(answer)
        if answer.problem:
            self._app.say(answer.problem, "error")
        elif said:
            self._app.say(said)


__all__ = ["Places", "offered", "place_at"]
