"""What a run did: a summary for people on stderr, the whole of it for programs on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from peagen.core.merge import NEW_SUFFIX

if TYPE_CHECKING:
    from peagen.cli.console import Console
    from peagen.run import Report


class Shown(Protocol):
    """What decides how it is shown."""

    as_json: bool
    dry_run: bool
    diff: bool


def summarize(console: Console, report: Report, options: Shown) -> None:
    """Print what a run did. The result is JSON with `--json`, and wherever no person reads stdout."""
    if options.diff and not options.as_json:
        for each in report.results:
            if each.diff:
                console.result(each.diff.rstrip("\n"))
    elif options.as_json or not sys.stdout.isatty():
        console.json(report.to_json())
    for each in report.results:
        name = each.name
        if each.status in {"failed", "skipped"}:
            said = f"not made, because {each.because} was not" if each.because else each.error
            console.error(f"{name}: {said}" + (f"; {each.hint}" if each.hint else ""))
        elif each.status == "conflict":
            console.error(f"{name}: {_conflict(name, dry_run=options.dry_run)}")
        elif options.dry_run and each.status != "unchanged":
            console.note(f"would be {each.status}: {name}")
    for name in report.orphaned:
        console.warn(f"{name}: no record makes it any longer; delete it if it is not needed")
    for warning in report.warnings:
        console.warn(warning)
    console.note(_last_line(report))


def _conflict(name: str, *, dry_run: bool) -> str:
    beside = f"{'would be' if dry_run else 'is'} beside it, as {name}{NEW_SUFFIX}"
    return (
        f"written or changed by hand, and not what is generated; that {beside}. "
        "Take what you want of it and delete it, or run again with --force"
    )


def _last_line(report: Report) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items()) or "no files"
    told = f"{counts}; {report.calls} calls of a model"
    if report.calls:
        cost = "cost unknown" if report.cost is None else f"${report.cost:.4f}"
        told += f", {report.input_tokens} + {report.output_tokens} tokens, {cost}"
    return f"{told}; {report.seconds:.1f} s"
