"""Running a recorded run again, answered from its recording, and telling how that went."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from playground.dashboard.details import error_nodes, field, status_row, text
from playground.dashboard.text import Row, many_lines, one_line
from playground.dashboard.views.detail import Node, payload

if TYPE_CHECKING:
    from playground.again import ReplayReport
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.travel.going import Going
    from playground.protocol import Result

SHOWN = 5


class _Asked(NamedTuple):
    origin: str
    live_after: str | None
    shown_before: str | None


class Replays:
    """Begins replays, and shows what came of them."""

    def __init__(self, app: DashboardApp, going: Going, compare: Callable[[str, str], None]) -> None:
        self._app = app
        self._compare = compare
        self._going = going
        self._asked: dict[str, _Asked] = {}

    def begin(self, trace_id: str, target: str | None, live_after: str | None = None) -> None:
        """Replay a run; with `live_after`, make the calls that come after the end of that span."""
        app, source = self._app, self._app.control.source
        if source is None or not source.can_run:
            app.say("nothing can be run here", "warning")
        elif target is None:
            app.say(f"{trace_id[:8]} does not say what it ran", "warning")
        else:
            app.control.start(partial(self._run, trace_id, target, live_after), "run")

    async def _run(self, trace_id: str, target: str, live_after: str | None) -> None:
        from penguiflow.ids import new_id
        from playground.again import ReplayOrder
        from playground.protocol import Run
        from playground.sources import RunRefused

        app, source = self._app, self._app.control.source
        assert source is not None
        replay_id = new_id()
        self._asked[replay_id] = _Asked(trace_id, live_after, app.control.wanted)
        app.run_rows.follow_newest = True
        app.control.wanted = replay_id
        order = ReplayOrder(trace_id=trace_id, live_after=live_after)
        try:
            await source.run(Run(target=target, trace_id=replay_id, replay=order))
        except RunRefused as refusal:
            self._forget(replay_id)
            app.say(one_line(str(refusal)), "error")

    def _forget(self, replay_id: str) -> None:
        asked = self._asked.pop(replay_id, None)
        if asked is not None and self._app.control.wanted == replay_id:
            self._app.control.wanted = asked.shown_before

    def ended(self, result: Result) -> None:
        """A replay is over, or never began."""
        report = result.replay
        asked = self._asked.get(result.trace_id)
        if report is None or asked is None:
            return
        if report.refused is not None:
            self._forget(result.trace_id)
            self._app.say(f"{asked.origin[:8]} cannot be replayed: {one_line(report.refused)}", "error")
            return
        del self._asked[result.trace_id]
        self._show(result, report)

    def _show(self, result: Result, report: ReplayReport) -> None:
        from playground.dashboard.travel.document_screen import DocumentScreen

        choices = [("d", "compare")]
        seq = None if report.diverged is None else report.diverged.get("seq")
        if isinstance(seq, int):
            choices.append(("o", "go to the recording"))
        heading, nodes = told(result, report)
        screen = DocumentScreen("REPLAY", heading, nodes, self._app.palette, choices)
        self._app.push_screen(screen, partial(self._chosen, report.origin, result.trace_id, seq))

    def _chosen(self, origin: str, replay_id: str, seq: Any, key: str | None) -> None:
        if key == "d":
            self._compare(origin, replay_id)
        elif key == "o":
            self._going.to(origin, seq)


def told(result: Result, report: ReplayReport) -> tuple[Row, list[Node]]:
    """How a replay went, as a document."""
    went = "diverged" if report.diverged is not None else "differs" if report.difference else "same"
    heading: Row = [
        (one_line(report.origin[:8]), "accent"),
        {
            "same": (" ✔ came out as recorded", "ok"),
            "differs": (" ✖ came out otherwise", "error"),
            "diverged": (" ✖ diverged", "error"),
        }[went],
    ]
    calls = f"{report.answered} answered from the recording, {report.made} made"
    nodes = [field("state", "".join(piece for piece, _ in status_row(result.status, 0)[:1])), field("calls", calls)]
    if report.diverged is not None:
        nodes += _diverged(report.diverged)
    elif result.error:
        nodes += error_nodes(result.error)
    if report.difference and report.diverged is None:
        nodes.append(text("difference", many_lines(report.difference)))
    for blocked in report.blocked[:SHOWN]:
        nodes.append(field("blocked", f"tried to connect to {blocked.get('to')}{_at(blocked)}", "error"))
    for started in report.started[:SHOWN]:
        nodes.append(field("started", f"{started.get('command')}{_at(started)}: nobody watched it", "warn"))
    if result.output is not None:
        nodes.append(payload("result", result.output))
    return heading, nodes


def _diverged(diverged: dict[str, Any]) -> list[Node]:
    nodes = [field("at", str(diverged.get("path")), "accent"), field("why", str(diverged.get("why")), "error")]
    if diverged.get("seq") is not None:
        nodes.append(field("event", f"{diverged['seq']} of the recording"))
    nodes.append(text("difference", many_lines(str(diverged.get("diff") or ""))))
    return nodes


def _at(place: dict[str, Any]) -> str:
    return f" at {place['file']}:{place.get('line', '?')}" if place.get("file") else ""
