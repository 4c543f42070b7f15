from __future__ import annotations

from typing import Any

from penguiflow.recording.events import TraceEvent
from playground.render.sequence import SequenceDiagram


def event(kind: str, name: str = "", **data: Any) -> TraceEvent:
    return TraceEvent(0, 0, "t", "1", "0", 0.0, 0, kind, name, data)


def message(source: str, target: str, message_id: str, **data: Any) -> TraceEvent:
    return event("message.enqueued", f"{source}->{target}", message_id=message_id, source=source, target=target, **data)


def lines(*events: TraceEvent, limit: int | None = None) -> list[str]:
    diagram = SequenceDiagram(limit=limit)
    for one in events:
        diagram.add(one)
    return list(diagram.lines())


def test_messages_retries_and_streams() -> None:
    ticket = {"type": "flows.triage:Ticket", "value": {"id": 1}}

    assert lines(
        message("OpenSea", "route", "1", payload=ticket),
        message("route", "tech desk", "2", same_as="1"),
        event("attempt.end", "tech desk", status="error", error={"type": "KeyError", "message": "x; y"}),
        message("tech desk", "Rookery", "3", stream_id="s", chunk_seq=0),
        message("tech desk", "Rookery", "4", stream_id="s", chunk_seq=1),
        message("tech desk", "Rookery", "5", payload={"type": "str", "value": "done"}),
    ) == [
        "sequenceDiagram",
        "    participant OpenSea as OpenSea",
        "    participant route as route",
        "    participant tech_desk as tech desk",
        "    participant Rookery as Rookery",
        "    OpenSea->>route: Ticket",
        "    route->>tech_desk: Ticket",
        "    Note over tech_desk: error: KeyError: x#59; y",
        "    tech_desk-)Rookery: stream of text",
        "    tech_desk->>Rookery: str",
    ]


def test_a_long_trace_is_cut_and_says_so() -> None:
    drawn = lines(*(message("OpenSea", "a", str(n), payload={"type": "int", "value": n}) for n in range(9)), limit=3)

    assert len([line for line in drawn if "->>" in line]) == 3
    assert drawn[-1] == "    Note over OpenSea: 6 more steps left out"


def test_a_trace_without_messages() -> None:
    assert lines(event("trace.start")) == ["sequenceDiagram"]


def span(kind: str, name: str, span_id: str, parent: str, **data: Any) -> TraceEvent:
    return TraceEvent(0, 0, "t", span_id, parent, 0.0, 0, kind, name, data)


def test_what_a_planner_asks() -> None:
    called = {"type": "builtins:dict", "value": {"tool": "find", "args": {"q": "krill"}, "call_id": "c"}}
    asked = {"type": "builtins:dict", "value": {"messages": [], "purpose": "decision"}}
    said = lines(
        message("OpenSea", "agent", "1", payload={"type": "m:Request", "value": {}}),
        span("planner.start", "agent", "2", "1"),
        span("step.start", "step", "3", "2"),
        span("llm.start", "some/model", "4", "3", request=asked),
        span("llm.end", "some/model", "4", "3", status="ok"),
        span("tool.start", "find", "5", "3", request=called),
        span("tool.end", "find", "5", "3", status="error", error={"type": "KeyError", "message": "x"}),
        span("tool.start", "ask", "6", "3", request=called),
        span("tool.end", "ask", "6", "3", status="ok", paused="await_input"),
        span("tool.start", "elsewhere", "7", "1", request=called),
    )
    assert said[1:6] == [
        "    participant OpenSea as OpenSea",
        "    participant agent as agent",
        "    participant llm_some_model as llm some/model",
        "    participant find as find",
        "    participant ask as ask",
    ]
    assert said[7:] == [
        "    agent->>llm_some_model: decision",
        "    llm_some_model-->>agent: ok",
        "    agent->>find: #123;#34;q#34;: #34;krill#34;#125;",
        "    find-->>agent: KeyError: x",
        "    agent->>ask: #123;#34;q#34;: #34;krill#34;#125;",
        "    ask-->>agent: paused: await_input",
    ]
