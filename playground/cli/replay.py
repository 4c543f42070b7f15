"""`pf replay`: a recorded trace once more, with the code as it is now and the answers as they were."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

from penguiflow.recording.cassette import KINDS, Cassette
from penguiflow.recording.replay import SpanNotFound, after_span
from playground.again import ReplayOrder, ReplayReport
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.outputs import ReplayOutput, RunOutput
from playground.cli.run import Runner, RunOptions
from playground.cli.stores import reading, refuse_file
from playground.cli.targets import check_target
from playground.dashboard.text import many_lines, one_line
from playground.project import find_project, split_attribute
from playground.protocol import Run

__all__ = ["ReplayOptions", "count_calls", "deviation", "read_cassette", "recorded_target", "replay_trace", "unwatched"]

SHOWN = 5
"""Processes that were started, of which there is a line."""


class ReplayOptions(NamedTuple):
    """What `pf replay` was asked for, as it was typed."""

    trace: str
    live_after: str | None = None
    target: str | None = None
    json: bool = False
    quiet: bool = False


def replay_trace(options: ReplayOptions) -> int:
    """Replay a trace; returns the exit code."""
    cassette = asyncio.run(read_cassette(options.trace))
    target = options.target or recorded_target(cassette)
    check_target(target)
    if options.live_after is not None:
        _check_span(cassette, options.live_after)
    order = ReplayOrder(trace_id=cassette.trace_id, live_after=options.live_after)
    runner = _Replayer(RunOptions(target=target, json=options.json, quiet=options.quiet), Console())
    return asyncio.run(runner.run(Run(target=target, replay=order), None))


def recorded_target(cassette: Cassette) -> str:
    """What the trace ran, as it is named from the working directory. Raises `Failure` when the trace does not say."""
    target = cassette.target
    if target is None:
        raise Failure(f"trace {cassette.trace_id} does not say what it ran", hint="name it: --target TARGET")
    # In the trace, paths begin at the root of the project.
    path = find_project().root / split_attribute(target)[0]
    if not path.exists() or Path(split_attribute(target)[0]).exists():
        return target
    return os.path.relpath(path) + target[len(split_attribute(target)[0]) :]


async def read_cassette(prefix: str) -> Cassette:
    """The cassette of a trace of this project. Raises `Failure` for one that cannot be replayed."""
    refuse_file(prefix)
    async with reading() as store:
        trace_id = await store.resolve_trace(prefix)
        trace = await store.get_trace(trace_id)
        if trace is not None and trace.status == "running":
            raise Failure(f"trace {trace_id} is still running", hint="wait for its end")
        cassette = Cassette.of(await store.load_events(trace_id, kinds=KINDS))
    if cassette.problem is not None:
        raise Failure(f"trace {trace_id} cannot be replayed: {cassette.problem}")
    return cassette


def _check_span(cassette: Cassette, wanted: str) -> None:
    try:
        after_span(cassette, wanted)
    except SpanNotFound as error:
        hint = f"`pf inspect {cassette.trace_id} --json` has the ids of its spans"
        raise Failure(
            f"--live-after: {error}",
            ExitCode.NOT_FOUND,
            hint="give more of the path" if error.candidates else hint,
            details=[one_line(path) for path in error.candidates[:10]],
        ) from None


class _Replayer(Runner):
    """A run whose world is a recording."""

    def _report(self, output: RunOutput, failure: Failure | None = None) -> int:
        self.progress.finish()
        report = None if self.result is None else self.result.replay
        if report is None:
            return super()._report(output, failure)
        if report.refused is not None:
            raise Failure(report.refused)
        failure = failure or deviation(report) or self._failure(output)
        try:
            self._write(output, report)
        except BrokenPipeError:
            self.console.abandon()
        for line in unwatched(report):
            self.progress.note(line, role="warn")
        if failure is not None:
            self.console.fail(failure)
        self._sum_up(output)
        answered = f"{count_calls(report.answered)} answered from {report.origin[:12]}"
        self.progress.note(answered + (f", {report.made} made" if report.made else ""), role="dim")
        if self.interrupted.is_set():
            return ExitCode.INTERRUPTED
        return ExitCode.DONE if failure is None else failure.code

    def _write(self, output: RunOutput, report: ReplayReport) -> None:
        if not self.options.json:
            self._write_result(output)
            if report.difference and report.diverged is None:
                self.progress.note("the outcome is not the recorded one:", role="error")
                for line in report.difference.splitlines():
                    self.progress.note(many_lines(line))
            return
        same = report.diverged is None and not report.difference and not report.blocked
        told = ReplayOutput(
            schema=1,
            trace_id=output.trace_id,
            origin=report.origin,
            status="diverged" if report.diverged is not None else output.status,
            output=output.output,
            error=output.error,
            version=output.version,
            same=same,
            answered=report.answered,
            made=report.made,
            diverged=report.diverged,
            difference=report.difference,
            blocked=report.blocked,
            started=report.started,
        )
        self.console.json(told.model_dump(mode="json", by_alias=True))
        self.console.flush()


def count_calls(calls: int) -> str:
    """`1 call`, `2 calls`."""
    return "1 call" if calls == 1 else f"{calls} calls"


def unwatched(report: ReplayReport) -> list[str]:
    """What to say of processes that were started: a line for each of the first ones."""
    lines = [
        f"⚠ started a process, and nobody watched what it did: {one_line(each['command'])}"
        + (f" (at {each['file']}:{each['line']})" if each.get("file") else "")
        for each in report.started[:SHOWN]
    ]
    more = len(report.started) - SHOWN
    return [*lines, f"⚠ and {more} more"] if more > 0 else lines


def deviation(report: ReplayReport) -> Failure | None:
    """Where the code asked something else than was recorded."""
    if report.diverged is not None:
        diverged = report.diverged
        at = "" if diverged["seq"] is None else f" (event {diverged['seq']} of the recording)"
        told = f"the replay diverged at {diverged['path']}{at}: {diverged['why']}"
        return Failure(
            one_line(told),
            ExitCode.DIVERGED,
            details=[many_lines(line) for line in str(diverged["diff"]).splitlines()],
            hint=f"`pf inspect {report.origin[:12]}` shows the recording",
        )
    if report.blocked:
        first = report.blocked[0]
        at = f" (at {first['file']}:{first['line']})" if first.get("file") else ""
        return Failure(
            f"the replay is offline, and the flow tried to connect to {first['to']}{at}",
            ExitCode.DIVERGED,
            hint="make the call with `await ctx.record(name, fn, …)`, so that it is recorded",
        )
    return None
