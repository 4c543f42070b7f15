"""`pf fork` and `pf resume`: a recorded trace goes on, as a new one or as itself."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from penguiflow.ids import new_id
from penguiflow.state.traces import TraceSummary
from playground.again import RestoreOrder, RestoreReport
from playground.cli.console import Console
from playground.cli.debug import DebugOptions, debugging
from playground.cli.failures import ExitCode, Failure
from playground.cli.outputs import RestoreOutput, RunOutput
from playground.cli.run import Runner, RunOptions
from playground.cli.stores import open_trace, refuse_file
from playground.cli.targets import check_target
from playground.dashboard.text import one_line
from playground.protocol import Run

__all__ = ["RestoreOptions", "fork_trace", "read_edits", "resume_trace"]

_MAX_SHOWN = 20


class RestoreOptions(NamedTuple):
    """What `pf fork` or `pf resume` was asked for, as it was typed."""

    trace: str
    at: int | None = None
    edits: Sequence[str] = ()
    target: str | None = None
    json: bool = False
    quiet: bool = False
    debug: DebugOptions = DebugOptions()


def fork_trace(options: RestoreOptions) -> int:
    """Go on from an event of a trace as a new one; returns the exit code."""
    edits = read_edits(options.edits)
    trace = asyncio.run(_find(options.trace))
    if options.at is not None and not 0 <= options.at < trace.events:
        raise Failure(
            f"--at {options.at}: trace {one_line(trace.trace_id)} has the events 0 to {trace.events - 1}",
            hint=f"`pf inspect {shlex.quote(one_line(trace.trace_id))} --events` shows them",
        )
    at = trace.events - 1 if options.at is None else options.at
    return _go_on(trace, options, RestoreOrder(trace_id=trace.trace_id, at=at, edits=edits), new_id())


def resume_trace(options: RestoreOptions) -> int:
    """Go on with an interrupted trace; returns the exit code."""
    edits = read_edits(options.edits)
    trace = asyncio.run(_find(options.trace))
    name = one_line(trace.trace_id)
    if trace.status == "running":
        raise Failure(f"trace {name} is still running", hint="wait for its end, or end the process that runs it")
    if trace.status == "paused":
        raise Failure(f"trace {name} is paused: it waits for an answer, not to be resumed", hint=_answering(trace))
    if trace.status != "interrupted":
        raise Failure(
            f"trace {name} is over ({trace.status}): only an interrupted one can be resumed",
            hint=f"`pf fork {shlex.quote(name)} --at SEQ` begins a new one from any of its events",
        )
    return _go_on(trace, options, RestoreOrder(trace_id=trace.trace_id, edits=edits), trace.trace_id)


def _answering(trace: TraceSummary) -> str:
    """The command that gives a paused run its answer, as far as its result says."""
    try:
        pause = json.loads(trace.output or "")
    except ValueError:  # cut, for it is long
        pause = None
    token = pause.get("resume_token") if isinstance(pause, dict) else None
    if not token or trace.target is None:
        return f"`pf inspect {shlex.quote(one_line(trace.trace_id))}` says what it waits for"
    given = json.dumps({"resume": {"pause": token, "user_input": "…"}}, ensure_ascii=False)
    return f"pf run {shlex.quote(one_line(trace.target))} --input {shlex.quote(one_line(given))}"


def read_edits(texts: Sequence[str]) -> dict[str, Any]:
    """The values of `--set PATH=VALUE`: JSON where they are JSON, else text. Raises `Failure`."""
    edits: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        pointer = path.rpartition(":")[2] if not path.startswith("/") else path
        if not equals or not pointer.startswith("/"):
            raise Failure(f"--set: {one_line(text)!r} is no PATH=VALUE", hint="--set /payload/text=hello")
        if path in edits:
            raise Failure(f"--set: {one_line(path)} is given twice")
        try:
            edits[path] = json.loads(value, parse_constant=_as_text)
        except (ValueError, RecursionError):
            edits[path] = value
    return edits


def _as_text(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


async def _find(reference: str) -> TraceSummary:
    refuse_file(reference)
    async with open_trace(reference) as (_, trace):
        return trace


def _go_on(trace: TraceSummary, options: RestoreOptions, order: RestoreOrder, trace_id: str) -> int:
    target = options.target or trace.target
    if target is None:
        told = f"trace {one_line(trace.trace_id)} does not say what it ran"
        raise Failure(told, hint="name it with --target")
    check_target(target)
    console = Console()
    stops = debugging(options.debug, console, json=options.json, reads_stdin=False)
    runner = _Restorer(RunOptions(target=target, json=options.json, quiet=options.quiet), console, stops)
    return asyncio.run(runner.run(Run(target=target, trace_id=trace_id, restore=order), None))


class _Restorer(Runner):
    """A run that begins in the middle."""

    def _report(self, output: RunOutput, failure: Failure | None = None) -> int:
        report = None if self.result is None else self.result.restore
        if report is not None and (report.refused or report.missing):
            self.progress.finish()
            raise _refusal(report)
        code = super()._report(output, failure)
        if report is not None and report.repeated:
            again = "1 invocation was" if report.repeated == 1 else f"{report.repeated} invocations were"
            self.progress.note(f"{again} under way at event {report.seq} and ran again", role="dim")
        return code

    def _write_result(self, output: RunOutput) -> None:
        report = None if self.result is None else self.result.restore
        if not self.options.json or report is None:
            super()._write_result(output)
            return
        told = RestoreOutput(
            **output.model_dump(), schema=1, origin=report.origin, seq=report.seq, repeated=report.repeated
        )
        left_out = None if told.not_recorded else {"not_recorded"}
        self.console.json(told.model_dump(mode="json", by_alias=True, exclude=left_out))
        self.console.flush()


def _refusal(report: RestoreReport) -> Failure:
    name = one_line(report.origin)
    if report.refused:
        told = f"trace {name} cannot go on: {one_line(report.refused[0])}"
        details = [one_line(problem) for problem in report.refused[1:_MAX_SHOWN]]
        details += [f"--set {shlex.quote(f'{one_line(path)}=…')}" for path in report.missing[:_MAX_SHOWN]]
        return Failure(told, ExitCode.USAGE, details=details)
    count = "a secret" if len(report.missing) == 1 else f"{len(report.missing)} secrets"
    return Failure(
        f"trace {name} holds {count} that the log does not have",
        ExitCode.USAGE,
        details=[f"--set {shlex.quote(f'{one_line(path)}=…')}" for path in report.missing[:_MAX_SHOWN]],
        hint="give each with --set",
    )
