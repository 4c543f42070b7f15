"""`pf export` and `pf import`: a trace as one file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.recording.tracefile import MAX_ID_CHARS, Written, write_trace_file
from penguiflow.state.errors import StoreUnreadable
from penguiflow.state.importing import Imported, TraceExists
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.traces import TraceSummary
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.stores import open_trace
from playground.dashboard.text import one_line, size
from playground.project import find_project

__all__ = ["ExportOptions", "ExportOutput", "ImportOptions", "ImportOutput", "export_trace", "import_trace"]


class ExportOptions(NamedTuple):
    """What `pf export` was asked for, as it was typed."""

    trace: str
    file: Path
    force: bool = False
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
    file: str
    events: int
    artifacts: int
    bytes: int
    """Of the file."""


class ImportOutput(_Output):
    """`pf import --json`: what was taken in."""

    trace_id: str
    events: int
    artifacts: int
    new: bool
    """False when the project had the very same trace already."""


def export_trace(options: ExportOptions) -> int:
    """Write a trace to a file; returns the exit code."""
    written, trace = asyncio.run(_export(options))
    console = Console()
    if options.json:
        output = ExportOutput(
            schema=1,
            trace_id=trace.trace_id,
            file=str(options.file),
            events=written.events,
            artifacts=written.artifacts,
            bytes=written.bytes,
        )
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
    else:
        told = f"{one_line(trace.trace_id)}: {written.events:,} events in {size(written.bytes)}"
        console.line(f"{told}, written to {one_line(str(options.file))}")
    return ExitCode.DONE


async def _export(options: ExportOptions) -> tuple[Written, TraceSummary]:
    async with open_trace(options.trace) as (store, trace):
        if trace.status == "running":
            raise Failure(f"trace {trace.trace_id} is still running", hint="export it when it is over")
        if not options.file.parent.is_dir():
            raise Failure(f"there is no folder {options.file.parent}", ExitCode.NOT_FOUND)
        if options.file.is_dir():
            raise Failure(f"{options.file} is a folder")
        try:
            return await write_trace_file(store, trace.trace_id, options.file, overwrite=options.force), trace
        except FileExistsError:
            raise Failure(f"{options.file} exists already", hint="--force writes over it") from None


def import_trace(options: ImportOptions) -> int:
    """Take in the trace of a file; returns the exit code."""
    if options.new_id is not None and not 0 < len(options.new_id) <= MAX_ID_CHARS:
        raise Failure(f"--as: an id has 1 to {MAX_ID_CHARS} characters")
    found = asyncio.run(_import(options))
    console = Console()
    if options.json:
        output = ImportOutput(
            schema=1, trace_id=found.trace_id, events=found.events, artifacts=found.artifacts, new=found.new
        )
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
    elif found.new:
        console.line(f"{one_line(found.trace_id)}: {found.events:,} events")
    else:
        console.line(f"{one_line(found.trace_id)} is here already")
    return ExitCode.DONE


async def _import(options: ImportOptions) -> Imported:
    if not options.file.exists():
        raise Failure(f"there is no file {options.file}", ExitCode.NOT_FOUND)
    if not options.file.is_file():
        raise StoreUnreadable(f"{options.file} is no file", path=str(options.file))
    store = SQLiteStateStore(find_project().database)
    try:
        return await store.import_trace(options.file, trace_id=options.new_id)
    except TraceExists as error:
        raise Failure(str(error), hint="--as NEW_ID takes it in under another id") from None
    finally:
        await store.close()
