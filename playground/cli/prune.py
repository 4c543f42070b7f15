"""`pf prune`: forgets old traces and gives their space back."""

from __future__ import annotations

import asyncio
import math
import re
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.state.retention import Pruned, Retention
from playground.cli.console import Console
from playground.cli.failures import Failure
from playground.project import Project, find_project
from playground.storing import has_store, open_store

__all__ = ["PruneOptions", "PruneOutput", "prune_traces"]

_UNITS_OF_TIME = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNITS_OF_SIZE = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class PruneOptions(NamedTuple):
    """What `pf prune` was asked for, as it was typed."""

    older_than: str | None = None
    keep: int | None = None
    max_size: str | None = None
    dry_run: bool = False
    json: bool = False


class PruneOutput(BaseModel):
    """`pf prune --json`: what was removed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    dry_run: bool
    """True when nothing was removed: the numbers tell what would be."""
    traces: int
    events: int
    bytes: int
    """Of the removed events, as they were stored."""
    size_before: int
    """Bytes of the database's files, or of its tables."""
    size_after: int


def prune_traces(options: PruneOptions) -> int:
    """Remove what is beyond the limits and print how much it was; returns the exit code."""
    retention = _retention(options)
    console = Console()
    project = find_project()
    if not has_store(project):
        result = PruneOutput(
            schema=1, dry_run=options.dry_run, traces=0, events=0, bytes=0, size_before=0, size_after=0
        )
    else:
        before, removed, after = asyncio.run(_prune(project, retention, dry_run=options.dry_run))
        result = PruneOutput(
            schema=1,
            dry_run=options.dry_run,
            traces=removed.traces,
            events=removed.events,
            bytes=removed.bytes,
            size_before=before,
            size_after=after,
        )
    if options.json:
        console.json(result.model_dump(mode="json", by_alias=True), indent=2)
    else:
        console.line(_told(result))
    return 0


async def _prune(project: Project, retention: Retention, *, dry_run: bool) -> tuple[int, Pruned, int]:
    """What was removed, and the store's size before and after."""
    store = open_store(project)
    try:
        before = await store.size()
        removed = await store.prune(retention, dry_run=dry_run)
        return before, removed, await store.size()
    finally:
        await store.close()


def _told(result: PruneOutput) -> str:
    what = f"{result.traces:,} trace{'' if result.traces == 1 else 's'} ({result.events:,} events)"
    if result.dry_run:
        return f"would remove {what}"
    size = f"the store has {_readable(result.size_after)}"
    if result.size_after < result.size_before:
        size += f", {_readable(result.size_before - result.size_after)} less than before"
    return f"removed {what}; {size}" if result.traces else f"nothing to remove; {size}"


def _retention(options: PruneOptions) -> Retention:
    if options.older_than is None and options.keep is None and options.max_size is None:
        raise Failure("say what to remove", hint="--older-than 7d, --keep 100 or --max-size 500MB")
    if options.keep is not None and options.keep < 0:
        raise Failure("--keep must not be negative")
    return Retention(
        max_age_s=None if options.older_than is None else _seconds(options.older_than),
        max_traces=options.keep,
        max_bytes=None if options.max_size is None else _bytes(options.max_size),
    )


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", text.strip())
    if match is None:
        raise Failure(f"--older-than: {text!r} is no length of time", hint="use 30m, 2h, 7d or 4w")
    return float(match[1]) * _UNITS_OF_TIME[match[2]]


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?) ?([A-Za-z]*)", text.strip())
    unit = None if match is None else _UNITS_OF_SIZE.get(match[2].upper())
    if match is None or unit is None:
        raise Failure(f"--max-size: {text!r} is no size", hint="use 500MB or 2GB")
    return int(float(match[1]) * unit)


def _readable(size: int) -> str:
    if size < 1000:
        return f"{size} bytes"
    power = min(3, int(math.log10(size) // 3))
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"
