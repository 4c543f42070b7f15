"""A recorded run goes on from one of its steps, in a trace of its own, with something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from penguiflow.calls import segment
from penguiflow.errors import FlowError
from penguiflow.ids import new_id
from penguiflow.planner.driving import flow_of, registry_of
from penguiflow.planner.outcomes import PlannerFinish, PlannerPause
from penguiflow.planner.planned import PlannedEdits, planned_edits
from penguiflow.recording.frontier import read_frontier, stored
from penguiflow.recording.plan import CannotRestore
from penguiflow.recording.pointers import NOTHING, PointerError, find, parts_of
from penguiflow.recording.recorder import Recorder

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.planner.react import ReactPlanner
    from penguiflow.recording.events import TraceEvent

__all__ = ["decision_places", "fork_at", "plan_edits"]

_CALLS = ("llm", "tool", "remote")
_EDITED = ("before_llm", "after_decision", "before_tool", "after_tool", "before_join", "before_finish")
"""Kinds of checkpoints at which a fork can change something."""
_OF_DECISIONS = ("next_node", "args", "thought")
"""Where pointers into a decision begin; those into a message begin otherwise."""
_MAX_SHOWN = 5


async def fork_at(
    planner: ReactPlanner,
    trace_id: str,
    step: int,
    *,
    edits: Mapping[str, Any] | None = None,
    store: Any = None,
    flow: PenguiFlow | None = None,
) -> PlannerFinish | PlannerPause:
    """Go on with a recorded run from one of its steps, in a new trace; the recorded one stays as it is.

    What was answered before is not asked again: models and tools of earlier steps are not called. From there on
    everything is real: tools are called, and the memory of the conversation gets the new turn.

    Args:
        planner: Whose run it is, with the same name and the same tools.
        trace_id: The trace, in full.
        step: Which step, from 0. Without edits the model decides anew.
        edits: JSON Pointers into the step's decision (`/args/url`, `/next_node`), or into what is shown at one of its
            checkpoints (`before_llm:/messages/0/content`, `after_tool:/observation/title`), with their new values.
            What the step did before the first of them is not done again.
        store: Where the trace is; by default the planner's state store.
        flow: The flow that the planner ran in, if that was not its own. If it is not running, it is run for this.

    Returns:
        What the fork came to, its trace id in `metadata["trace_id"]`; with `flow` the flow's last result.

    Raises:
        LookupError: the trace has no such step; the text says how many there are.
        CannotRestore: something of the run cannot be had again, or an edit does not fit.
        FlowError: the fork failed, in a node; what a planner of its own flow raised is raised as it was.
    """
    store = planner.settings.state_store if store is None else store
    if not hasattr(store, "load_events"):
        raise CannotRestore(["there is no store with traces: give the planner a state_store, or fork_at a store"])
    wanted = _read_edits(edits or {})
    recorder = planner.recorder() or Recorder(store=store, name=planner.settings.name)
    await recorder.flush()  # the run may have just come to its end
    found = await _steps_of(store, trace_id, planner.settings.name)
    if not 0 <= step < len(found.steps):
        raise LookupError(_no_such_step(found, trace_id, planner.settings.name, step))
    chosen = found.steps[step]
    seq = min((chosen.before(kind, pointers) for kind, pointers in wanted.items()), default=chosen.seq)
    frontier = await read_frontier(store, trace_id, seq)
    fork_id = new_id()
    planned = planned_edits[fork_id] = PlannedEdits(chosen.place, wanted)
    own = flow is None
    target = flow_of(planner) if flow is None else flow
    started = not target.running
    if started:
        target.run(registry=registry_of(planner) if own else None, recorder=recorder)
    try:
        outcome = await _last(target, frontier, fork_id, unwrap=own)
    finally:
        del planned_edits[fork_id]
        if started:
            await target.stop()
            await recorder.flush()
    if planned.missed:
        at = ", ".join(planned.missed)
        raise CannotRestore([f"the fork {fork_id} came to its end and did not reach {at} of step {step} again"])
    if isinstance(outcome, PlannerFinish):
        outcome.metadata["trace_id"] = fork_id
    return cast("PlannerFinish | PlannerPause", outcome)


class Planned(NamedTuple):
    """What becomes of the edits of a fork."""

    seq: int
    """After which event it begins."""
    edits: PlannedEdits | None
    """What is decided at the checkpoints of a planner's step; None for a fork that changes no such thing."""
    rest: dict[str, Any]
    """Edits of messages."""


async def plan_edits(store: Any, trace_id: str, seq: int, edits: Mapping[str, Any]) -> Planned:
    """Sort the edits of a fork after event `seq`: those of a planner's step are made at its checkpoints.

    They are spelled as those of `fork_at`; the step is the one that the event is in. Raises `CannotRestore`.
    """
    ours = {path: value for path, value in edits.items() if _of_step(path)}
    if not ours:
        return Planned(seq, None, dict(edits))
    wanted = _read_edits(ours)
    found = _Steps("", at=seq)
    async for event in stored(store, trace_id):
        found.take(event)
    step = found.at_step
    if step is None:
        raise CannotRestore([f"event {seq} is in no step of a planner: {', '.join(ours)} cannot be changed there"])
    begin = min(step.before(kind, pointers) for kind, pointers in wanted.items())
    rest = {path: value for path, value in edits.items() if path not in ours}
    return Planned(begin, PlannedEdits(step.place, wanted), rest)


async def decision_places(store: Any, trace_id: str, seq: int) -> list[str]:
    """What can be changed of the decision of the planner's step that event `seq` is in, as JSON Pointers.

    Empty where it is in none, or in one that decided nothing.
    """
    found = _Steps("", at=seq)
    async for event in stored(store, trace_id):
        found.take(event)
    return [] if found.at_step is None else found.at_step.places()


def _of_step(path: str) -> bool:
    if path.startswith("/"):
        return path[1:].split("/", 1)[0] in _OF_DECISIONS
    return path.split(":", 1)[0] in _EDITED


async def _last(flow: PenguiFlow, frontier: Any, fork_id: str, *, unwrap: bool) -> Any:
    """The last result of the fork. Raises what it failed with."""
    outcome: Any = None
    try:
        async for result in flow.restore(frontier, trace_id=fork_id):
            outcome = result
    except FlowError as error:
        cause = error.unwrap() if unwrap or isinstance(error.unwrap(), CannotRestore) else None
        if cause is not None:
            raise cause from None
        raise
    return outcome


def _no_such_step(found: _Steps, trace_id: str, name: str, step: int) -> str:
    count = len(found.steps)
    if count:
        return f"the run has {count} steps, 0 to {count - 1}; there is no step {step}"
    known = ", ".join(repr(each) for each in sorted(found.planners))
    about = f"there are runs of {known}" if known else "there is no run of a planner"
    return f"trace {trace_id} has no step of a planner {name!r}; {about}"


def _read_edits(edits: Mapping[str, Any]) -> dict[str, list[tuple[list[str], Any]]]:
    """The edits by kind of checkpoint. Raises `CannotRestore`."""
    wanted: dict[str, list[tuple[list[str], Any]]] = {}
    problems: list[str] = []
    for path, value in edits.items():
        kind, pointer = (
            ("after_decision", path) if path.startswith("/") else path.split(":", 1) if ":" in path else ("", path)
        )
        if kind not in _EDITED:
            problems.append(
                f"{path!r} is no place to edit: a JSON Pointer, after one of {', '.join(_EDITED)} and a colon"
            )
            continue
        try:
            parts = parts_of(pointer)
        except PointerError as error:
            problems.append(str(error))
            continue
        if kind == "after_tool" and parts[0] != "observation":
            problems.append(f"{path!r}: what can be changed after a tool is its /observation")
            continue
        wanted.setdefault(kind, []).append((parts, value))
    if problems:
        raise CannotRestore(problems)
    return wanted


class _Noted(NamedTuple):
    """What is remembered of an event."""

    kind: str
    seq: int
    parent: str
    data: Mapping[str, Any]


def _shown(decision: _Noted) -> dict[str, Any]:
    """What pointers into a decision lead through."""
    args = decision.data.get("args")
    return {
        "next_node": decision.data.get("next_node"),
        "args": args.get("value") if isinstance(args, dict) else args,
        "thought": decision.data.get("thought"),
    }


@dataclass(slots=True)
class _Step:
    """A step as the log has it."""

    number: int
    place: str
    """How its scope is called."""
    seq: int
    """Of its `step.start`."""
    events: list[_Noted] = field(default_factory=list)
    """What is in it of interest, in order."""

    def note(self, event: TraceEvent) -> None:
        """Remember an event; without what was said, which may be long."""
        told = event.data if event.kind == "planner.decision" else {"checkpoint": event.data.get("checkpoint")}
        self.events.append(_Noted(event.kind, event.seq, event.parent_id or "", told))

    def before(self, kind: str, edits: Sequence[tuple[list[str], Any]]) -> int:
        """The last event before something is decided at a checkpoint. Raises `CannotRestore`."""
        asked = [event.seq for event in self.events if event.data.get("checkpoint") == kind]
        if kind == "before_llm":
            return self.seq
        if kind == "after_decision":
            decisions = self._of("planner.decision", kind)
            self._check(decisions[-1], edits)
            return decisions[-1].seq
        if kind in ("before_tool", "after_tool"):
            calls = self._of("tool.start", kind)
            if len({event.parent for event in calls}) > 1:
                raise CannotRestore([f"step {self.number} calls several tools: edit its decision, and not {kind}"])
            if kind == "before_tool":
                return min([calls[0].seq, *asked]) - 1
            return self._of("tool.end", kind)[-1].seq
        if kind == "before_join":
            return self._of("join.start", kind)[-1].seq
        before = self._of("planner.decision", kind)[-1].seq
        if asked:
            return asked[0] - 1
        return max([before, *(event.seq for event in self.events if event.kind == "llm.end")])

    def places(self) -> list[str]:
        """Pointers to what was decided last; of many arguments the first."""
        decisions = [event for event in self.events if event.kind == "planner.decision"]
        if not decisions:
            return []
        args = _shown(decisions[-1])["args"]
        keys = list(args)[:_MAX_SHOWN] if isinstance(args, dict) else []
        within = [f"/args/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys]
        return ["/next_node", *(within or ["/args"]), "/thought"]

    def _of(self, event_kind: str, kind: str) -> list[_Noted]:
        found = [event for event in self.events if event.kind == event_kind]
        if not found:
            raise CannotRestore([f"step {self.number} has no {event_kind}: there is nothing to edit at {kind}"])
        return found

    def _check(self, decision: _Noted, edits: Sequence[tuple[list[str], Any]]) -> None:
        """Refuse what cannot be set before anything is done."""
        shown = _shown(decision)
        for parts, _ in edits:
            if parts[0] not in shown or find(shown, parts[:-1]) is NOTHING:
                known = ", ".join(self.places())
                raise CannotRestore([f"the decision of step {self.number} has no /{'/'.join(parts)}, but {known}"])


@dataclass(slots=True)
class _Steps:
    """The steps of a planner's runs in a trace; those of a trace that was resumed as they were done last."""

    name: str
    """Of the planner; empty for all that there are."""
    at: int = -1
    at_step: _Step | None = None
    """The step that the event `at` is in."""
    steps: list[_Step] = field(default_factory=list)
    planners: set[str] = field(default_factory=set)
    _places: dict[str, str] = field(default_factory=dict)
    """Of open spans: how the scope within them is called."""
    _within: dict[str, _Step] = field(default_factory=dict)
    """Of open spans in a step: that step."""
    _calls: dict[str, _Step] = field(default_factory=dict)
    """Of open calls that a step makes: the step."""
    _own: set[str] = field(default_factory=set)
    """Open spans of runs of this planner."""
    _messages: dict[str, str] = field(default_factory=dict)

    def take(self, event: TraceEvent) -> None:
        """Look at the next event of the log."""
        family, _, what = event.kind.partition(".")
        if event.seq == self.at:
            self.at_step = self._around(event.span_id) or self._around(event.parent_id or "")
        if what == "start" and family != "trace":
            self._begun(event, family)
            if event.seq == self.at:
                self.at_step = self._around(event.span_id) or self.at_step
        elif what == "end":
            step = self._within.pop(event.span_id, None) or self._calls.pop(event.span_id, None)
            if step is not None:
                step.note(event)
            self._places.pop(event.span_id, None)
            self._own.discard(event.span_id)
        else:
            step = self._within.get(event.span_id)
            if step is not None:
                step.note(event)

    def _around(self, span: str) -> _Step | None:
        return self._within.get(span) or self._calls.get(span)

    def _begun(self, event: TraceEvent, family: str) -> None:
        span, parent, data = event.span_id, event.parent_id or "", event.data
        if family == "node":
            self._messages[span] = str(data.get("message_id", ""))
            return
        if family == "attempt":
            self._places[span] = f"{self._messages.get(parent, '')}/{data.get('attempt', 0)}"
            return
        around = self._places.get(parent)
        if around is None:
            return
        called = segment(family, event.name) if family in _CALLS else event.name
        place = self._places[span] = f"{around}/{called}[{data.get('ordinal', 0)}]"
        step = self._within.get(parent)
        if family == "planner":
            self.planners.add(event.name)
            if self.name in ("", event.name):
                self._own.add(span)
        elif family == "step" and parent in self._own:
            self._within[span] = self._open_step(place, event)
        elif step is not None:
            # What happens within a call is none of the step's own.
            (self._calls if family in _CALLS else self._within)[span] = step
            step.note(event)

    def _open_step(self, place: str, event: TraceEvent) -> _Step:
        for known in self.steps:
            if known.place == place:
                known.seq = event.seq
                known.events.clear()
                return known
        made = _Step(int(event.data.get("step", 0)), place, event.seq)
        self.steps.append(made)
        return made


async def _steps_of(store: Any, trace_id: str, name: str) -> _Steps:
    found = _Steps(name)
    async for event in stored(store, trace_id):
        found.take(event)
    return found
