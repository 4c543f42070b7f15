"""The calls of models in a trace: what was sent, what came back, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.recording.events import TraceEvent
from penguiflow.state.database import DatabaseStore
from playground.cli.console import Console, json_text
from playground.cli.failures import ExitCode, Failure
from playground.cli.stores import PAGE
from playground.dashboard.text import GLYPHS, duration, many_lines, one_line
from playground.render.failure import describe_error

__all__ = ["CallsOutput", "ModelCall", "calls_of", "chosen", "show_calls"]

_KINDS = ("llm.start", "llm.end", "planner.decision", "planner.repair", "step.start")
_SETTLED = frozenset({"model", "messages", "purpose", "structured_output", "tools"})
"""Parts of a request that have fields of their own."""
_THINNEST = {"cached_tokens": "cached", "reasoning_tokens": "reasoning"}


class ModelCall(BaseModel):
    """One call of a model."""

    model_config = ConfigDict(extra="forbid")

    number: int
    """From 1, in the order in which they began."""
    span_id: str
    start_seq: int
    end_seq: int | None = None
    """None while it is under way."""
    step: int | None = None
    """Of the planner, from 0."""
    purpose: str | None = None
    """What a planner asked for: a decision, a repair, a summary, …"""
    model: str
    parameters: dict[str, Any] = {}
    """Temperature and the like, as they were sent."""
    structured_output: Any = None
    tools: list[Any] = []
    messages: list[Any] = []
    """As they were sent; secrets are masked."""
    reply: Any = None
    """The raw reply: text, or the message where it is more than text."""
    reasoning: Any = None
    decisions: list[dict[str, Any]] = []
    """What a planner read from it: `next_node`, `args`, `thought`, `source`, `alternates`."""
    repairs: list[dict[str, Any]] = []
    """What a planner had to ask again because of it: `purpose`, `attempt`, `problem`."""
    status: str = "running"
    error: dict[str, Any] | None = None
    usage: dict[str, int] | None = None
    """Tokens, where they are known."""
    cost: float | None = None
    """US dollars; None when it is not known."""
    latency_ms: float | None = None
    finish_reasons: list[str] = []
    response_id: str | None = None
    replayed: bool = False
    """True when the reply came from a recording."""


class CallsOutput(BaseModel):
    """`pf inspect --llm N --json`: calls of models of a trace."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    trace_id: str
    total: int
    """How many the trace has."""
    calls: list[ModelCall]
    """The one that was asked for, or all."""


class _Reader:
    """Puts calls together from the events of a trace, in order."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self._steps: dict[str, int] = {}
        self._open: dict[str, ModelCall] = {}
        self._last: dict[str | None, ModelCall] = {}
        """The last call within each span: what is decided there was read from its reply."""

    def take(self, event: TraceEvent) -> None:
        """Take one event."""
        data = event.data
        if event.kind == "step.start":
            step = data.get("step")
            if isinstance(step, int):
                self._steps[event.span_id] = step
        elif event.kind == "llm.start":
            call = _begun(event, len(self.calls) + 1, self._steps.get(event.parent_id or ""))
            self.calls.append(call)
            self._open[event.span_id] = self._last[event.parent_id] = call
        elif event.kind == "llm.end":
            ended = self._open.pop(event.span_id, None)
            if ended is not None:
                _end(ended, event)
        else:
            around = self._last.get(event.span_id)
            if around is None:
                return
            if event.kind == "planner.repair":
                around.repairs.append({key: data.get(key) for key in ("purpose", "attempt", "problem")})
            elif event.kind == "planner.decision":
                keys = ("next_node", "thought", "source", "alternates")
                around.decisions.append({**{key: data.get(key) for key in keys}, "args": _value(data.get("args"))})


async def calls_of(store: DatabaseStore, trace_id: str) -> list[ModelCall]:
    """All calls of models in a trace."""
    reader = _Reader()
    after = -1
    while page := await store.load_events(trace_id, after=after, limit=PAGE, kinds=_KINDS):
        for event in page:
            reader.take(event)
        after = page[-1].seq
    return reader.calls


def chosen(calls: Sequence[ModelCall], which: str, trace_id: str) -> list[ModelCall]:
    """The calls that `N`, `last` or `all` means. Raises `Failure`."""
    if which == "all":
        return list(calls)
    if not (which == "last" or (which.isascii() and which.isdigit())):
        raise Failure(f"--llm: {which!r} is no number of a call", hint="1 is the first; `last` and `all` work too")
    number = len(calls) if which == "last" else int(which)
    if not 1 <= number <= len(calls):
        count = {0: "no calls of models", 1: "one call of a model"}.get(len(calls), f"{len(calls)} calls of models")
        raise Failure(f"--llm {which}: trace {one_line(trace_id)} has {count}", ExitCode.NOT_FOUND)
    return [calls[number - 1]]


def show_calls(console: Console, calls: Sequence[ModelCall], total: int) -> None:
    """Print calls, each with its numbers, prompt, reply and what was read from it."""
    for index, call in enumerate(calls):
        if index:
            console.line()
        for line in _lines(console, call, total):
            console.line(line)
    if not calls:
        console.tell("no calls of models")


def _begun(event: TraceEvent, number: int, step: int | None) -> ModelCall:
    request = _value(event.data.get("request"))
    asked: dict[str, Any] = request if isinstance(request, dict) else {"messages": [request]}
    messages, tools = asked.get("messages"), asked.get("tools")
    parameters = {key: value for key, value in asked.items() if key not in _SETTLED and value not in (None, [], {})}
    return ModelCall(
        number=number,
        span_id=event.span_id,
        start_seq=event.seq,
        step=step,
        purpose=None if asked.get("purpose") is None else str(asked["purpose"]),
        model=str(asked.get("model") or event.name),
        parameters=parameters,
        structured_output=asked.get("structured_output") or None,
        tools=tools if isinstance(tools, list) else [],
        messages=messages if isinstance(messages, list) else [],
    )


def _end(call: ModelCall, event: TraceEvent) -> None:
    data, answer = event.data, _value(event.data.get("response"))
    call.end_seq = event.seq
    call.status = str(data.get("status", "ok"))
    call.error = data.get("error") if isinstance(data.get("error"), dict) else None
    usage, cost, took = data.get("usage"), data.get("cost"), data.get("latency_ms")
    if isinstance(usage, dict):
        call.usage = {name: value for name, value in usage.items() if isinstance(value, int)}
    call.cost = float(cost) if isinstance(cost, int | float) else None
    call.latency_ms = float(took) if isinstance(took, int | float) else None
    call.model = str(data.get("model") or call.model)
    call.finish_reasons = [str(each) for each in data.get("finish_reasons") or []]
    call.response_id = None if data.get("response_id") is None else str(data["response_id"])
    call.replayed = data.get("replayed") is True
    if not isinstance(answer, dict):
        call.reply = answer
        return
    call.reasoning = answer.get("reasoning")
    message = answer.get("message")
    if not isinstance(message, dict):
        call.reply = answer if message is None else message
    else:
        only_text = isinstance(message.get("content"), str) and not message.get("tool_calls")
        call.reply = message["content"] if only_text else message


def _value(payload: Any) -> Any:
    """The plain value of a recorded payload."""
    return payload["value"] if isinstance(payload, dict) and "value" in payload else payload


def _lines(console: Console, call: ModelCall, total: int) -> Iterator[str]:
    paint = console.out_paint

    def head(text: str) -> str:
        return paint("dim", f"── {text}")

    about = [call.purpose, None if call.step is None else f"step {call.step}", _numbers(call)]
    glyph = f"{GLYPHS.get(call.status, '?')} {call.status}"
    yield f"{paint(call.status, glyph)}  {paint('bold', one_line(call.model))}  call {call.number} of {total}"
    yield "  ".join(one_line(part) for part in about if part)
    place = f"events {call.start_seq} to {call.end_seq}" if call.end_seq is not None else f"event {call.start_seq}"
    yield paint("dim", place + ("  answered from a recording" if call.replayed else ""))
    if call.parameters:
        told = [f"{key} {_plain(value)}" for key, value in call.parameters.items()]
        yield paint("dim", one_line("  ".join(told)))
    if call.tools:
        yield head(f"tools ({len(call.tools)})")
        yield from many_lines(json_text(call.tools, indent=2)).split("\n")
    if call.structured_output is not None:
        yield head("structured output")
        yield from many_lines(json_text(call.structured_output, indent=2)).split("\n")
    for number, message in enumerate(call.messages, 1):
        yield from _message(head, number, message)
    if call.reasoning:
        yield head("thinking")
        yield from _text(call.reasoning)
    if call.reply is not None:
        yield head("reply")
        yield from _text(call.reply)
    for decision in call.decisions:
        yield head("decision")
        yield from _text({key: value for key, value in decision.items() if value not in (None, "")})
    for repair in call.repairs:
        yield head("repair")
        yield one_line(f"attempt {repair.get('attempt')} of {repair.get('purpose')}: {repair.get('problem')}")
    if call.error is not None:
        yield paint("error", one_line(describe_error(call.error)))


def _message(head: Any, number: int, message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield head(f"{number}")
        yield from _text(message)
        return
    rest = {key: value for key, value in message.items() if key not in ("role", "content") and value}
    yield head(f"{number} {one_line(str(message.get('role') or 'message'))}")
    yield from _text(message.get("content"))
    if rest:
        yield from _text(rest)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _text(value: Any) -> list[str]:
    return many_lines(value if isinstance(value, str) else json_text(value, indent=2)).split("\n")


def _numbers(call: ModelCall) -> str:
    parts: list[str] = []
    if call.latency_ms is not None:
        parts.append(duration(call.latency_ms / 1000))
    if call.usage is not None:
        told = f"{call.usage.get('input_tokens', 0):,} → {call.usage.get('output_tokens', 0):,} tokens"
        more = [f"{call.usage[key]:,} {name}" for key, name in _THINNEST.items() if call.usage.get(key)]
        parts.append(told + (f" ({', '.join(more)})" if more else ""))
    if call.cost is not None:
        parts.append(f"${call.cost:.6f}".rstrip("0").rstrip("."))
    return "  ".join(parts)
