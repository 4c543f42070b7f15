from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

from penguiflow.recording.spans import Span
from playground.dashboard.details import span_details
from playground.dashboard.trace import TraceModel
from playground.dashboard.watching import copies
from playground.dashboard.watching.calls import changes_nodes, raw_document

ID = "9e9a20c1" * 4
Triage = Callable[..., Any]


def fed(run: Any) -> TraceModel:
    trace = TraceModel(ID)
    for raw in run.events:
        trace.add(raw)
    return trace


def root(trace: TraceModel) -> Span:
    assert trace.root is not None
    return trace.root


def node(trace: TraceModel, name: str) -> Any:
    return next(span for span in trace.spans.values() if span.name == name and span.kind == "node")


def made(choices: list[copies.Choice], key: str) -> str:
    return next(choice for choice in choices if choice.key == key).make()


def test_every_choice_has_a_key_of_its_own_and_makes_text(triage: Triage) -> None:
    trace = fed(triage())
    for choices in (
        [*copies.of_value({"a": 1}), *copies.of_event(trace, 2)],
        [*copies.of_value("x"), *copies.of_span(trace, node(trace, "route"))],
        copies.of_span(trace, root(trace)),
    ):
        assert len({choice.key for choice in choices}) == len(choices)
        assert all(choice.make() for choice in choices)


def test_a_class_is_built_by_the_python_that_is_copied(triage: Triage) -> None:
    text = made(copies.of_span(fed(triage()), node(fed(triage()), "route")), "P")
    assert text.startswith("from flows.triage import Ticket\n\nvalue = Ticket.model_validate(\n")
    literal = text.partition("model_validate(\n")[2].rpartition(")")[0]
    assert eval(literal.strip())["customer"] == "ACME"


def test_types_that_cannot_be_imported_are_plain_python() -> None:
    assert copies.as_python({"type": "builtins:dict", "value": {"a": None}}) == "{'a': None}"
    assert copies.as_python({"type": "x:<locals>.Y", "value": [True]}) == "[True]"
    assert copies.as_python({"type": "__import__('os'):x", "value": 1}) == "1"


def test_a_run_is_copied_as_the_command_that_runs_it_again(triage: Triage) -> None:
    trace = fed(triage())
    words = shlex.split(made(copies.of_span(trace, root(trace)), "f"))
    assert words[:4] == ["pf", "run", "flows/triage.py", "--input"]
    assert json.loads(words[4])["id"] == 4711
    odd = shlex.split(copies.run_command("flows/it's.py", {"text": "a 'b' \"c\" $(d)"}))
    assert odd[2] == "flows/it's.py"
    assert json.loads(odd[4]) == {"text": "a 'b' \"c\" $(d)"}


def test_an_event_that_repeats_a_payload_gives_the_payload(script: Any) -> None:
    run = script(ID)
    run.send(run.root, "a", "b", {"x": 1}, "m1")
    run.event("message.enqueued", "a->c", run.root, None, {"message_id": "m2", "same_as": "m1"})
    trace = fed(run)
    assert made(copies.of_event(trace, 2), "P") == "{'x': 1}"


def test_what_a_node_changed_is_a_line_for_each_place(triage: Triage) -> None:
    taken = {"payload": {"type": "x:T", "value": {"a": 1, "b": [1, 2], "c": "same"}}}
    given = {"payload": {"type": "x:T", "value": {"a": 2, "b": [1], "c": "same", "d": None}}}
    (changed,) = changes_nodes(taken, given)
    assert changed.value.splitlines() == ["- /a  1", "+ /a  2", "- /b/1  2", "+ /d  null"]
    (none,) = changes_nodes(taken, taken)
    assert none.value.startswith("none")
    assert changes_nodes({"payload": 3}, given) == []
    trace = fed(triage())
    assert "input → output" in [entry.key for entry in span_details(trace, node(trace, "technical"))[1]]


def test_raw_json_of_events_and_spans(triage: Triage) -> None:
    trace = fed(triage())
    _, (whole,) = raw_document(trace, 1)
    assert json.loads(whole.value)["data"]["payload"]["value"]["id"] == 4711
    _, both = raw_document(trace, node(trace, "route").span_id)
    assert [json.loads(part.value)["kind"] for part in both] == ["node.start", "node.end"]


async def test_keys_in_the_dashboard(open_desk: Any, source: Any, triage: Triage) -> None:
    source.answer = lambda run: triage(ID).events
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await desk.press("3", "g", "j", "J")
        assert '"kind": "node.start"' in desk.text()
        await desk.press("J")
        assert "input OpenSea->route" in desk.text()
        await desk.press("Y")
        assert "COPY route" in desk.text()
        assert "pf run with the same input" in desk.text()
        await desk.press("f")
        assert desk.app.clipboard.startswith("pf run flows/triage.py --input ")
        await desk.press("Y", "down", "enter")
        assert desk.app.clipboard.startswith("from flows.triage import Ticket")
        await desk.press("Y", "escape")
        # The event inspector: a regular expression, an event, its JSON, and out again.
        await desk.press("4", "right_square_bracket", "slash", *"/message.(en|de)queued/", "enter")
        assert desk.app.panes["inspect"].view is desk.app.event_rows
        await desk.until(lambda: 0 < len(desk.app.event_rows) < 10, "the filter")
        await desk.press("J")
        desk.app.clear_notifications()
        await desk.frame()
        assert '"kind": "message.enqueued"' in desk.text()
        await desk.press("escape")
        assert desk.app.panes["inspect"].view is desk.app.event_rows
        await desk.press("1", "Y", "t")
        assert desk.app.clipboard == "flows/triage.py"
