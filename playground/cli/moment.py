"""`pf inspect --at SEQ`: a run as it stood after an event, as the dashboard's timeline shows it in its panes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from penguiflow.recording.events import TraceEvent
from penguiflow.state.database import DatabaseStore
from penguiflow.state.traces import TraceSummary
from playground.cli.console import Console
from playground.cli.failures import Failure
from playground.cli.inspect import preorder, span_output
from playground.cli.outputs import EventOutput, SpanOutput, _Output
from playground.dashboard.debugging.model import WORDS
from playground.dashboard.heads import read_data, read_head
from playground.dashboard.text import clip, duration, one_line
from playground.dashboard.trace import TraceModel
from playground.render.eventlist import event_line
from playground.render.tree import tree_lines

__all__ = ["MomentOutput", "inspect_moment"]

PAGE = 2000
"""Events read at a time."""
MAX_LINES = 3
"""Of a stream, on a terminal: its last ones."""


class StreamOutput(_Output):
    """What a stream had said."""

    stream_id: str
    channel: str
    done: bool
    chunks: int
    text: str
    """The end of it, where it is long."""


class StopOutput(_Output):
    """Where the run had stopped."""

    span_id: str
    checkpoint: str
    name: str


class MomentOutput(_Output):
    """`pf inspect --at SEQ --json`: a run as it stood after an event."""

    schema_: Literal[1] = Field(1, alias="schema")
    trace_id: str
    seq: int
    offset_ns: int
    """Nanoseconds since the run began."""
    status: str
    """`running` before its end."""
    error: dict[str, Any] | None
    llm_calls: int
    """That had ended, with their tokens and US dollars."""
    tokens: int
    cost: float
    retries: int
    event: EventOutput
    spans: list[SpanOutput]
    """That had begun, parents before their children; `running` those that had not ended."""
    waiting: dict[str, int]
    """Messages that lay before a node, by its name."""
    stopped: list[StopOutput]
    streams: list[StreamOutput]


async def inspect_moment(store: DatabaseStore, trace: TraceSummary, seq: int, console: Console, *, json: bool) -> None:
    """Print it. Raises `Failure` for an event that the trace does not have."""
    if not 0 <= seq < trace.events:
        raise Failure(f"--at {seq}: trace {one_line(trace.trace_id)} has the events 0 to {trace.events - 1}")
    # No clock goes on in a moment.
    model = TraceModel(trace.trace_id, clock=lambda: 0.0)
    stops: dict[str, StopOutput] = {}
    after = -1
    while after < seq:
        page = await store.load_event_bytes(trace.trace_id, after=after, limit=min(PAGE, seq - after))
        if not page:
            raise Failure(f"trace {one_line(trace.trace_id)} ends before event {seq}")
        for raw in page:
            model.add(raw)
            _note_stop(stops, raw)
        after += len(page)
    output = _moment(model, list(stops.values()))
    if json:
        # As the event stands in the trace: those that one process wrote do not name it.
        alone = {"event": {"worker_id", "worker_seq"}} if output.event.worker_id is None else None
        console.json(output.model_dump(mode="json", by_alias=True, exclude=alone))
        return
    _tell(model, output, trace, console)


def _note_stop(stops: dict[str, StopOutput], raw: bytes) -> None:
    """Keep where the run stands: a stop is written before anybody is asked, its end after that."""
    if b'"checkpoint.' in raw[:400]:
        head = read_head(raw)
        if head.kind == "checkpoint.hit":
            kind = str(read_data(raw).get("checkpoint", ""))
            stops[head.span_id] = StopOutput(span_id=head.span_id, checkpoint=kind, name=head.name)
        elif head.kind == "checkpoint.resolved":
            stops.pop(head.span_id, None)
    elif b'"kind":"trace.' in raw[:400]:  # taken up again, or over
        stops.clear()


def _event(model: TraceModel) -> TraceEvent:
    raw = model.events[-1]
    return TraceEvent(*read_head(raw), read_data(raw))


def _moment(model: TraceModel, stops: list[StopOutput]) -> MomentOutput:
    return MomentOutput(
        schema=1,
        trace_id=model.trace_id,
        seq=model.last_seq,
        offset_ns=model.now_ns(),
        status=model.status,
        error=model.error,
        llm_calls=model.llm_calls,
        tokens=model.tokens,
        cost=model.cost,
        retries=model.retries,
        event=EventOutput.model_validate(_event(model).to_dict()),
        spans=[span_output(span) for span in preorder(model.tree.roots)],
        waiting={name: count for name, count in model.queued.items() if name != "Rookery"},
        stopped=stops,
        streams=[
            StreamOutput(
                stream_id=stream.stream_id,
                channel=stream.channel,
                done=stream.done,
                chunks=stream.chunks,
                text=stream.text(),
            )
            for stream in model.streams.values()
        ],
    )


def _tell(model: TraceModel, output: MomentOutput, trace: TraceSummary, console: Console) -> None:
    paint, width = console.out_paint, console.width
    at = f"after event {output.seq} of {trace.events}, {duration(output.offset_ns / 1e9)} after it began"
    facts = [f"{output.llm_calls} LLM · {output.tokens:,} tok" if output.llm_calls else "", at]
    title = f"{paint(output.status, output.status)}  {paint('bold', one_line(model.flow or 'trace'))}"
    console.line("  ".join([title, *(fact for fact in facts if fact)]))
    console.line(event_line(_event(model), paint=paint, width=width))
    console.line()
    for line in tree_lines(model.tree.roots, paint=paint, width=width):
        console.line(line)
    for stop in output.stopped:
        console.line(f"stopped  {one_line(f'{WORDS.get(stop.checkpoint, stop.checkpoint)} {stop.name}')}")
    for name, count in output.waiting.items():
        console.line(f"waiting  {count} before {one_line(name)}")
    for stream in output.streams:
        text = " ⏎ ".join(stream.text.rstrip().splitlines()[-MAX_LINES:])
        told = f"stream   {stream.stream_id}: {one_line(text)}"
        console.line(clip(told, width) if width else told)
