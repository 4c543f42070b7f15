"""`pf export` and `pf import`: a trace as one file."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.recording.tracefile import MAX_ID_CHARS, Written, write_trace_file
from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreUnreadable
from penguiflow.state.importing import Imported, TraceExists
from penguiflow.state.traces import TraceSummary
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.stores import events_of, open_trace, told
from playground.cli.waiting import waiting
from playground.dashboard.text import one_line, size
from playground.project import find_project
from playground.storing import open_store

__all__ = ["ExportOptions", "ExportOutput", "ImportOptions", "ImportOutput", "export_trace", "import_trace"]


class ExportOptions(NamedTuple):
    """What `pf export` was asked for, as it was typed."""

    trace: str
    file: Path | None = None
    force: bool = False
    otlp: str | None = None
    content: bool = False
    json: bool = False


class ImportOptions(NamedTuple):
    """What `pf import` was asked for, as it was typed."""

    file: Path
    new_id: str | None = None
    json: bool = False


class _Output(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")


class ExportOutput(_Output):
    """`pf export --json`: what was written."""

    trace_id: str
    file: str | None
    """None when it was sent to a collector."""
    events: int
    bytes: int
    """Of the file."""
    spans: int
    """How many were sent to a collector."""


class ImportOutput(_Output):
    """`pf import --json`: what was taken in."""

    trace_id: str
    events: int
    new: bool
    """False when the project had the very same trace already."""


def export_trace(options: ExportOptions) -> int:
    """Write a trace to a file, or send it to a collector; returns the exit code."""
    if (options.file is None) == (options.otlp is None):
        raise Failure("say where to: either a file, or --otlp URL")
    if options.content and options.otlp is None:
        raise Failure("--content goes with --otlp; a file has everything")
    console = Console()
    output = asyncio.run(_export(console, options))
    if options.json:
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
    elif output.file is None:
        console.line(f"{one_line(output.trace_id)}: {output.spans:,} spans sent")
    else:
        told = f"{one_line(output.trace_id)}: {output.events:,} events in {size(output.bytes)}"
        console.line(f"{told}, written to {one_line(output.file)}")
    return ExitCode.DONE


async def _export(console: Console, options: ExportOptions) -> ExportOutput:
    async with waiting(console, "exporting") as say, open_trace(options.trace, say=say) as (store, trace):
        say("exporting")
        if trace.status == "running":
            raise Failure(f"trace {trace.trace_id} is {trace.status}", hint="export it when it is over")
        if options.file is None:
            sent = await _send(store, trace, options.otlp or "", content=options.content)
            return ExportOutput(schema=1, trace_id=trace.trace_id, file=None, events=trace.events, bytes=0, spans=sent)
        written = await _write(store, trace, options.file, force=options.force)
        return ExportOutput(
            schema=1,
            trace_id=trace.trace_id,
            file=str(options.file),
            events=written.events,
            bytes=written.bytes,
            spans=0,
        )


async def _write(store: DatabaseStore, trace: TraceSummary, file: Path, *, force: bool) -> Written:
    _check_place(file)
    try:
        return await write_trace_file(store, trace.trace_id, file, overwrite=force)
    except FileExistsError:
        raise Failure(f"{file} exists already", hint="--force writes over it") from None


def _check_place(file: Path) -> None:
    if not file.parent.is_dir():
        raise Failure(f"there is no folder {file.parent}", ExitCode.NOT_FOUND)
    if file.is_dir():
        raise Failure(f"{file} is a folder")


async def _send(store: DatabaseStore, trace: TraceSummary, url: str, *, content: bool) -> int:
    from penguiflow.otel import ExportFailed, export_events

    # The exporter tells of each try on its own; one message at the end is enough.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        return await export_events(events_of(store, trace.trace_id), url, content=content)
    except ValueError as error:
        raise Failure(f"--otlp: {error}") from None
    except ExportFailed as error:
        raise Failure(f"{url}: {error}", ExitCode.FLOW_FAILED, hint="is a collector listening there?") from None


def import_trace(options: ImportOptions) -> int:
    """Take in the trace of a file; returns the exit code."""
    if options.new_id is not None and not 0 < len(options.new_id) <= MAX_ID_CHARS:
        raise Failure(f"--as: an id has 1 to {MAX_ID_CHARS} characters")
    console = Console()
    found = asyncio.run(_import(console, options))
    if options.json:
        output = ImportOutput(schema=1, trace_id=found.trace_id, events=found.events, new=found.new)
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
    elif found.new:
        console.line(f"{one_line(found.trace_id)}: {found.events:,} events")
    else:
        console.line(f"{one_line(found.trace_id)} is here already")
    return ExitCode.DONE


async def _import(console: Console, options: ImportOptions) -> Imported:
    if not options.file.exists():
        raise Failure(f"there is no file {options.file}", ExitCode.NOT_FOUND)
    if not options.file.is_file():
        raise StoreUnreadable(f"{options.file} is no file", path=str(options.file))
    store = open_store(find_project())
    try:
        async with waiting(console, "importing") as say:
            progress = told(options.file, say)
            return await store.import_trace(options.file, trace_id=options.new_id, progress=progress)
    except TraceExists as error:
        raise Failure(str(error), hint="--as NEW_ID takes it in under another id") from None
    finally:
        await store.close()
