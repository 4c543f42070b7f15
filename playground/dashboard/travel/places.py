"""Where a recorded run can go on, and what can be changed there: no screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from playground.dashboard.heads import BadEvent, Head, read_data, read_head
from playground.dashboard.text import count, one_line

if TYPE_CHECKING:
    from penguiflow.recording.frontier import Frontier
    from penguiflow.recording.held import Held
    from penguiflow.recording.spans import Span
    from playground.dashboard.trace import TraceModel
    from playground.sources import Source

MAX_MESSAGES = 5
"""Messages that are shown where an event is about none of them."""
MAX_UP = 50
MAX_SCANNED = 20_000
_DECISION = b'"planner.decision"'
_EDITED = {"llm": "before_llm", "tool": "before_tool"}
"""Which checkpoint of a planner's step a call stands for."""


class NoPlace(Exception):
    """Nothing can go on from there; the text says why."""


class Point(NamedTuple):
    """An event to go on from, and what of it is edited."""

    seq: int
    kind: str
    """`decision`, `before_llm`, `before_tool`, or `message`."""
    head: Head
    data: dict[str, Any]
    """Of the event that says what is edited; empty for a message, which the log up to there tells."""
    around: tuple[str, ...]
    """Names of the spans that it is in, from the outside."""
    tools: tuple[str, ...] = ()
    """What a planner could choose."""


class Stand(NamedTuple):
    """How the run stood there, and what can be changed."""

    about: list[str]
    document: Any
    """As JSON; None where nothing can be changed."""
    prefixes: dict[str, str]
    """What stands before the pointers of an edit, by key of the document; under `""` for all of it."""
    schema: dict[str, Any] | None = None
    """Of the document, as far as it is known."""


def point_at_span(trace: TraceModel, span: Span) -> Point:
    """Where a fork at a row of the tree begins: at the decision behind a tool, else where the span began."""
    step = _step_around(trace, span)
    if step is not None and span.kind in {"step", "branch", "join", "tool"}:
        decision = _decision_of(trace, step)
        if decision is not None:
            return _point(trace, decision)
    return _point(trace, trace.position(span.start_seq))


def point_at_event(trace: TraceModel, index: int) -> Point:
    """Where a fork at an event begins: after it."""
    return _point(trace, index)


def _point(trace: TraceModel, index: int) -> Point:
    if not 0 <= index < len(trace.events):
        raise NoPlace("there is no such event")
    try:
        head = read_head(trace.events[index])
        family = head.kind.partition(".")[0]
        span = trace.spans.get(head.span_id)
        step = None if span is None else _step_around(trace, span)
        kind = "decision" if head.kind == "planner.decision" else _EDITED.get(family, "message")
        if step is None or (kind == "before_tool" and span is not None and span.parent_id != step.span_id):
            kind = "message"
        data: dict[str, Any] = {}
        if kind == "decision":
            data = read_data(trace.events[index])
        elif kind != "message" and span is not None:
            data = read_data(trace.events[trace.position(span.start_seq)])
    except BadEvent as error:
        raise NoPlace(f"the event cannot be read: {error}") from None
    return Point(head.seq, kind, head, data, _around(trace, span), _tools(trace, span))


def _parents(trace: TraceModel, span: Span | None) -> Iterator[Span]:
    for _ in range(MAX_UP):
        if span is None:
            return
        yield span
        span = trace.parent(span)


def _step_around(trace: TraceModel, span: Span) -> Span | None:
    for each in _parents(trace, span):
        if each.kind == "step":
            return each
        if each.kind in {"node", "attempt"}:
            return None
    return None


def _around(trace: TraceModel, span: Span | None) -> tuple[str, ...]:
    names = [
        one_line(each.name) if each.step is None else f"step {each.step}"
        for each in _parents(trace, span)
        if each.kind in {"node", "planner", "step", "branch", "join"}
    ]
    # A planner that is a flow of its own has the name of its node.
    return tuple(dict.fromkeys(reversed(names)))


def _tools(trace: TraceModel, span: Span | None) -> tuple[str, ...]:
    planner = next((each for each in _parents(trace, span) if each.kind == "planner"), None)
    if planner is None:
        return ()
    try:
        tools = read_data(trace.events[trace.position(planner.start_seq)]).get("tools")
    except BadEvent:
        return ()
    return tuple(str(tool) for tool in tools) if isinstance(tools, list) else ()


def _decision_of(trace: TraceModel, step: Span) -> int | None:
    """Index of the event that tells the decision of a planner's step; of the last one, where it was repaired."""
    found = None
    for index, raw in trace.events_of(step, most=MAX_SCANNED):
        if _DECISION in raw and read_head(raw).kind == "planner.decision":
            found = index
    return found


# -- what can be changed --------------------------------------------------------------------------------------------


async def stand_at(source: Source, trace: TraceModel, point: Point) -> Stand:
    """How the run stood at a point. Raises `NoPlace`, and what the source raises."""
    if point.kind != "message":
        return _stand_in_step(point)
    from penguiflow.recording.frontier import read_frontier
    from penguiflow.recording.plan import CannotRestore

    try:
        frontier = await read_frontier(source, trace.trace_id, point.seq)
    except CannotRestore as error:
        raise NoPlace(str(error)) from None
    return stand_of(frontier)


def _stand_in_step(point: Point) -> Stand:
    where = " · ".join(point.around)
    data = point.data
    if point.kind == "decision":
        about = [f"The planner had decided, in {where}. Change its decision, and the run goes on with it."]
        document = {
            "next_node": data.get("next_node"),
            "args": _value(data.get("args")),
            "thought": data.get("thought"),
        }
        return Stand(about, document, {"": ""}, _schema(point.tools))
    request = _value(data.get("request"))
    request = request if isinstance(request, dict) else {}
    if point.kind == "before_llm":
        about = [f"The model is asked, in {where}. Change what it is told, and it answers anew."]
        return Stand(about, {"messages": request.get("messages", [])}, {"": "before_llm:"})
    about = [f"The tool {one_line(point.head.name)} is called, in {where}. Change its arguments."]
    return Stand(about, {"args": request.get("args", {})}, {"": "before_tool:"})


def _schema(tools: tuple[str, ...]) -> dict[str, Any]:
    """Of a decision: which tools there are."""
    chosen: dict[str, Any] = {"type": "string"}
    if tools:
        chosen["enum"] = [*tools, "parallel", "final_response"]
    fields = {"next_node": chosen, "args": {"type": "object"}, "thought": {"type": ["string", "null"]}}
    return {"type": "object", "properties": fields, "required": list(fields)}


def _value(stored: Any) -> Any:
    """What a recorded payload says."""
    return stored["value"] if isinstance(stored, dict) and "value" in stored and "type" in stored else stored


def stand_of(frontier: Frontier) -> Stand:
    """What waits and what is under way after the last event of a log, with the message that it is about."""
    if not frontier.entered:
        raise NoPlace("nothing had come in yet: the input is not in the log")
    working = [each.held for each in frontier.invocations.values() if each.held is not None]
    waiting = [held for held in frontier.waiting.values() if held.target != "Rookery"]
    about = [_told(working, "runs again", "run again"), _told(waiting, "waits", "wait")]
    if frontier.delivered:
        many = len(frontier.delivered)
        about.append(f"{many} result{'s' if many > 1 else ''} had been delivered")
    open_messages = {held.message_id: held for held in (*working, *waiting) if held.content is not None}
    subject = open_messages.get(frontier.subject or "")
    if subject is None and len(open_messages) == 1:
        subject = next(iter(open_messages.values()))
    if not working and not waiting:
        about = ["Nothing was left to do: the fork ends at once, with the results that there were."]
    about = [line for line in about if line]
    if subject is not None:
        return Stand([f"Message {one_line(subject.edge)}.", *about], _document(subject), {"": ""})
    shown = list(open_messages.values())[:MAX_MESSAGES]
    if not shown:
        return Stand(about, None, {})
    names = {f"{held.edge} {held.message_id}": held for held in shown}
    prefixes = {name: f"{held.message_id}:" for name, held in names.items()}
    return Stand(about, {name: _document(held) for name, held in names.items()}, prefixes)


def _told(held: list[Held], one: str, more: str) -> str:
    if not held:
        return ""
    names = ", ".join(dict.fromkeys(one_line(each.target) for each in held[:MAX_MESSAGES]))
    rest = "" if len(held) <= MAX_MESSAGES else f" and {count(len(held) - MAX_MESSAGES)} more"
    return f"{names}{rest} {one if len(held) == 1 else more}."


def _document(held: Held) -> dict[str, Any]:
    content = held.content
    assert content is not None
    document: dict[str, Any] = {"payload": content.payload.get("value")}
    if content.headers is not None:
        document |= {"headers": content.headers, "meta": content.meta, "deadline_s": content.deadline_s}
    return document


# -- edits ----------------------------------------------------------------------------------------------------------


def edits_between(before: Any, after: Any, prefixes: Mapping[str, str]) -> dict[str, Any]:
    """What was changed, as new values by JSON Pointer, with what stands before the pointers. Raises `NoPlace`."""
    from playground.dashboard.editing.changes import change

    if "" in prefixes:
        prefixes, before, after = {"": prefixes[""]}, {"": before}, {"": after}
    if not isinstance(after, dict) or after.keys() != before.keys():
        raise NoPlace("the names of the messages have to stay")
    edits: dict[str, Any] = {}
    for name, prefix in prefixes.items():
        changed = change(before[name], after[name])
        if changed.whole:
            raise NoPlace("its keys have to stay")
        edits |= {f"{prefix}{pointer}": value for pointer, value in changed.edits.items()}
    return edits
