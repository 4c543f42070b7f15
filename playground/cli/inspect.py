"""`pf inspect`: one trace, as a tree, as events, as JSON or as a diagram."""

from __future__ import annotations

import asyncio
from typing import Literal

from penguiflow.recording.events import lift_worker
from penguiflow.recording.spans import Span, SpanTree
from penguiflow.state.database import DatabaseStore
from penguiflow.state.traces import TraceSummary
from playground.cli.console import Console, json_text, safe_json
from playground.cli.failures import ExitCode, Failure, one_of
from playground.cli.outputs import SCHEMA, SpanOutput
from playground.cli.stores import PAGE, events_of, open_trace
from playground.render.eventlist import event_line
from playground.render.joins import Joins
from playground.render.sequence import MAX_ARROWS, SequenceDiagram
from playground.render.tree import heading_lines, tree_lines

__all__ = ["InspectView", "choose_view", "inspect_trace", "preorder", "span_output"]

InspectView = Literal["tree", "events", "json", "mermaid"]

SENDERS_UP_TO = 50_000
"""Events of a trace whose messages are all read, to tell who sent the parts of joins."""


def choose_view(
    *, tree: bool, events: bool, json: bool, mermaid: bool, llm: bool = False, follow: bool = False, at: bool = False
) -> InspectView:
    """The one view that was asked for. Raises `Failure` for several."""
    if llm and (tree or events or mermaid or follow):
        raise Failure("--llm shows calls of models: of the others only --json goes with it")
    if at and (events or mermaid or follow or llm):
        raise Failure("--at shows the run at a moment: of the others only --tree and --json go with it")
    if follow and (tree or mermaid):
        raise Failure("--follow shows events: of the others only --events and --json go with it")
    views: dict[InspectView, bool] = {"tree": tree, "events": events, "json": json, "mermaid": mermaid}
    return one_of(views) or ("events" if follow else "tree")


def inspect_trace(
    prefix: str,
    view: InspectView,
    *,
    full: bool = False,
    llm: str | None = None,
    follow: bool = False,
    at: int | None = None,
) -> int:
    """Print one trace, or the calls of models in it, a moment of it, or its events until it is over.

    Returns the exit code.
    """
    if at is not None:
        asyncio.run(_inspect_moment(prefix, at, json=view == "json"))
    elif llm is not None:
        asyncio.run(_inspect_calls(prefix, llm, json=view == "json"))
    elif follow:
        asyncio.run(_follow(prefix, json=view == "json"))
    else:
        asyncio.run(_inspect(prefix, view, full))
    return ExitCode.DONE


async def _inspect_calls(prefix: str, which: str, *, json: bool) -> None:
    from playground.cli.calls import CallsOutput, calls_of, chosen, show_calls

    console = Console()
    async with open_trace(prefix) as (store, trace):
        found = await calls_of(store, trace.trace_id)
    calls = chosen(found, which, trace.trace_id)
    if json:
        output = CallsOutput(schema=1, trace_id=trace.trace_id, total=len(found), calls=calls)
        console.json(output.model_dump(mode="json", by_alias=True))
    else:
        show_calls(console, calls, len(found))


async def _inspect_moment(prefix: str, at: int, *, json: bool) -> None:
    from playground.cli.moment import inspect_moment

    console = Console()
    async with open_trace(prefix) as (store, trace):
        await inspect_moment(store, trace, at, console, json=json)


async def _follow(prefix: str, *, json: bool) -> None:
    """Each event as it is committed, by whatever process, until the trace is over."""
    console = Console()
    async with open_trace(prefix) as (store, trace):
        async for event in store.follow(trace.trace_id):
            if json:
                console.json(event.to_dict())
            else:
                console.line(event_line(event, paint=console.out_paint, width=console.width))
            console.flush()


async def _inspect(prefix: str, view: InspectView, full: bool) -> None:
    console = Console()
    async with open_trace(prefix) as (store, trace):
        trace_id = trace.trace_id
        if view == "json":
            await _write_json(console, store, trace)
        elif view == "events":
            async for event in events_of(store, trace_id):
                console.line(event_line(event, paint=console.out_paint, width=console.width))
        elif view == "mermaid":
            diagram = SequenceDiagram(limit=None if full else MAX_ARROWS)
            async for event in events_of(store, trace_id):
                diagram.add(event)
            for line in diagram.lines():
                console.line(line)
        else:
            await _write_tree(console, store, trace, full)


async def _write_tree(console: Console, store: DatabaseStore, trace: TraceSummary, full: bool) -> None:
    roots = await store.load_spans(trace.trace_id, fold=not full)
    if trace.status == "interrupted":
        # The end of its spans may not have been written: the disk was full, or nobody could write to the store.
        for span in preorder(roots):
            if span.status == "running":
                span.status = "interrupted"
    paint, width = console.out_paint, console.width
    for line in heading_lines(trace, paint=paint, width=width):
        console.line(line)
    console.line()
    parts = await _parts(store, trace, roots) if roots and roots[0].worker_id is not None else {}
    for line in tree_lines(roots, paint=paint, width=width, full=full, parts=parts):
        console.line(line)


async def _parts(store: DatabaseStore, trace: TraceSummary, roots: list[Span]) -> dict[str, str]:
    """What joins have had, by span; in a long trace without who sent it."""
    joins = Joins()
    for kind in ("context.changed", "message.enqueued"):
        after = -1
        while page := await store.load_events(trace.trace_id, after=after, limit=PAGE, kinds=[kind]):
            for event in page:
                joins.add(event)
            after = page[-1].seq
        if not joins.wanted or trace.events > SENDERS_UP_TO:
            break
    return joins.parts(roots)


async def _write_json(console: Console, store: DatabaseStore, trace: TraceSummary) -> None:
    """Write the object piece by piece: a trace may be larger than the memory. Both passes end at the same event."""
    tree = SpanTree()
    last = -1
    async for event in events_of(store, trace.trace_id):
        tree.add(event)
        last = event.seq
    trace.events = last + 1
    console.write(f'{{"schema": {SCHEMA}, "trace": {json_text(trace.model_dump(mode="json"))},\n"spans": [')
    for index, span in enumerate(preorder(tree.roots)):
        output = span_output(span).model_dump(mode="json")
        console.write((",\n" if index else "\n") + json_text(output))
    console.write('],\n"events": [')
    after = -1
    while after < last:
        page = await store.load_event_bytes(trace.trace_id, after=after, limit=min(PAGE, last - after))
        if not page:
            raise Failure(f"trace {trace.trace_id} ended before event {last}", ExitCode.STORE)
        text = b",\n".join(map(lift_worker, page)).decode("utf-8", "surrogateescape")
        console.write((",\n" if after >= 0 else "\n") + safe_json(text))
        after += len(page)
    console.write("]}\n")


def preorder(roots: list[Span]) -> list[Span]:
    """Spans, parents before their children."""
    ordered: list[Span] = []
    stack = roots[::-1]
    while stack:
        span = stack.pop()
        ordered.append(span)
        stack.extend(span.children[::-1])
    return ordered


def span_output(span: Span) -> SpanOutput:
    """A span, as it is printed."""
    return SpanOutput(
        span_id=span.span_id,
        parent_id=span.parent_id,
        kind=span.kind,
        name=span.name,
        status=span.status,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        duration_ns=span.duration_ns,
        attempt=span.attempt,
        error=span.error,
        start_seq=span.start_seq,
        end_seq=span.end_seq,
        input_id=span.input_id,
        output_ids=list(span.output_ids),
        worker_id=span.worker_id,
        delivery=span.delivery,
        queue_wait_s=span.queue_wait_s,
    )
