"""`pf run`: one run of one flow in a host of its own."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from penguiflow.types import Headers
from playground.cli.console import Console, json_text
from playground.cli.debug import Debugging, DebugOptions, debugging
from playground.cli.failures import ExitCode, Failure, explain
from playground.cli.inputs import read_json, read_json_object
from playground.cli.outputs import RunOutput
from playground.cli.progress import Progress
from playground.cli.question_prompt import QuestionPrompt
from playground.cli.targets import check_target
from playground.dashboard.form import takes_null
from playground.dashboard.text import GLYPHS, duration, many_lines, one_line
from playground.project import Project, find_project
from playground.protocol import FlowInfo, Result, Run
from playground.render.failure import describe_error, user_frames
from playground.render.folded import fold
from playground.session import HostDied, HostSession
from playground.supervisor.process import Death
from playground.supervisor.recovery import recover

__all__ = ["RunOptions", "Runner", "run_flow"]

TICK_S = 0.1
CANCEL_GRACE_S = 0.5
"""How long a cancelled run may take to say so before its host is ended: Ctrl-C has to be answered within 2 seconds."""
DEADLINE_GRACE_S = 0.5
"""How much later than the flow's own deadline a run is cancelled from outside."""
SCREEN_LINES = 40
"""A result that is longer is folded on a terminal."""
_MISSING = object()
_MADE_UP = re.compile("[0-9a-f]{32}")
"""An id that nobody chose: its beginning is enough."""


class RunOptions(NamedTuple):
    """What `pf run` was asked for, as it was typed."""

    target: str
    input: str | None = None
    json: bool = False
    timeout: float | None = None
    headers: str | None = None
    meta: str | None = None
    session: str | None = None
    trace_id: str | None = None
    record: bool = True
    quiet: bool = False
    debug: DebugOptions = DebugOptions()


def run_flow(options: RunOptions) -> int:
    """Run a flow to its end; returns the exit code."""
    if options.timeout is not None and not options.timeout > 0:
        raise Failure("--timeout must be more than 0 seconds")
    if options.trace_id is not None and not (options.trace_id.isprintable() and options.trace_id.strip()):
        raise Failure("--trace-id must be printable text")
    check_target(options.target)
    from_stdin = [options.input, options.headers, options.meta].count("-")
    if from_stdin > 1:
        raise Failure("stdin can be read once: only one of --input, --headers and --meta may be `-`")
    console = Console()
    stops = debugging(options.debug, console, json=options.json, reads_stdin=from_stdin > 0)
    value = _MISSING if options.input is None else read_json(options.input, "--input")
    headers = read_json_object(options.headers, "--headers")
    unknown = [name for name in headers if name not in Headers.model_fields]
    if unknown:
        known = ", ".join(Headers.model_fields)
        raise Failure(f"--headers has no field {', '.join(map(repr, unknown))}", hint=f"the fields are {known}")
    request = Run(
        target=options.target,
        input=None,
        headers=headers,
        meta=read_json_object(options.meta, "--meta"),
        trace_id=options.trace_id,
        session=options.session,
        deadline_s=options.timeout,
    )
    return asyncio.run(Runner(options, console, stops).run(request, value))


class Runner:
    """One run, from loading its target to the last line about it."""

    def __init__(self, options: RunOptions, console: Console, stops: Debugging | None = None) -> None:
        self.options = options
        self.console = console
        self.stops = stops
        """Who decides where the run stops."""
        self.progress = Progress(console, quiet=options.quiet)
        self.prompt: QuestionPrompt | None = None
        """Who answers what the run asks."""
        reads_stdin = "-" in (options.input, options.headers, options.meta)
        if QuestionPrompt.possible(console) and not (options.json or options.quiet or reads_stdin):
            self.prompt = QuestionPrompt(console, None if stops is None else stops.lines)
        self.interrupted = asyncio.Event()
        self.result: Result | None = None
        """What the host said at the end."""
        self.asked = False
        """True once the host was asked to run."""
        self.overdue = False
        """True once the run was cancelled because `--timeout` was over."""
        self.started = asyncio.Event()
        """Set once there is a trace that has to be cancelled rather than dropped."""

    async def run(self, request: Run, value: Any) -> int:
        """Load, run and report; Ctrl-C ends each of these phases."""
        with self._signals():
            work = asyncio.create_task(self._work(request, value))
            stop = asyncio.create_task(self.interrupted.wait())
            started = asyncio.create_task(self.started.wait())
            ticking = asyncio.create_task(self._tick())
            try:
                await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
                if self.asked:
                    # The trace may be there, and only the answer is still on its way.
                    await asyncio.wait({work, started}, timeout=CANCEL_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
                if not self.started.is_set():
                    work.cancel()
                await asyncio.wait({work})
                return ExitCode.INTERRUPTED if work.cancelled() else work.result()
            finally:
                self._forget_stops()
                for task in (stop, started, ticking):
                    task.cancel()
                self.progress.finish()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self.interrupted.set)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.progress.tick()

    async def _work(self, request: Run, value: Any) -> int:
        project = find_project([self.options.target])
        if self.stops is not None:
            self.stops.prepare(project)
        async with HostSession(
            project,
            [self.options.target],
            record=self.options.record,
            offline=_is_offline(request),
            breakpoints=None if self.stops is None else self.stops.folder,
        ) as host:
            flow = host.find_flow(self.options.target)
            request.target = flow.target
            if self.prompt is not None:
                await self.prompt.attend(host)
            if self.stops is not None:
                await self.stops.attend(host)
                request.stop_first = self.stops.stop_first
            if request.replay is None and request.restore is None:
                request.input = _default_input(flow, self.options.target) if value is _MISSING else value
            self.asked = True
            accepted = await host.run(request)
            trace_id = accepted.trace_id or ""
            self.started.set()
            self.progress.follow(trace_id)
            output = RunOutput(
                trace_id=trace_id, status="interrupted", output=None, error=None, version=accepted.version
            )
            try:
                self.result = result = await self._follow(host, trace_id)
            except HostDied as died:
                output.error = {"code": "HOST_DIED", "message": str(died)}
                died.heard = died.heard and not self.options.quiet
                return self._report(output, explain(died))
        await self._hear_the_rest(host)
        if result is None:
            await self._give_up(output, project, host.death)
        else:
            output = RunOutput(
                trace_id=trace_id,
                status=result.status,
                output=result.output,
                error=result.error,
                version=result.version or accepted.version,
                not_recorded=result.not_recorded,
            )
            if self.overdue and output.status == "cancelled":
                output.status, output.error = "timeout", None
            if output.status == "timeout" and output.error is None and self.options.timeout is not None:
                # The answer that stands for a deadline is the flow's only when the deadline is.
                output.output, output.error = None, self._late("")
        return self._report(output)

    async def _hear_the_rest(self, host: HostSession) -> None:
        """What the flow printed comes by another way than its result, and may come after it."""
        with suppress(HostDied):
            async for frame in host.frames():
                self.progress.show(frame)

    def _late(self, more: str) -> dict[str, Any]:
        """The error of a run that `--timeout` ended."""
        nodes = self.progress.unfinished
        message = f"no answer within {self.options.timeout:g} s (--timeout){more}"
        return {"code": "DEADLINE_EXCEEDED", "message": message, "node_name": ", ".join(nodes) or None}

    async def _give_up(self, output: RunOutput, project: Project, death: Death | None) -> None:
        """The flow did not stop when it was told to, and its process is gone: close its trace."""
        if self.options.record and death is not None:
            await recover(project, death)
        told = "the flow did not stop when it was told to, and its process was ended"
        if self.interrupted.is_set():
            output.error = {"code": "TRACE_CANCELLED", "message": told}
        else:
            output.status = "timeout"
            output.error = self._late(f"; {told}")

    async def _follow(self, host: HostSession, trace_id: str) -> Result | None:
        """The run's result; None when it was told to stop and did not."""
        reader = asyncio.create_task(self._read(host, trace_id))
        stop = asyncio.create_task(self.interrupted.wait())
        tasks: list[asyncio.Task[Any]] = [reader, stop]
        asking = None if self.prompt is None else asyncio.create_task(self.prompt.work(host, self.progress))
        deciding = None if self.stops is None else asyncio.create_task(self.stops.work(host, self.progress))
        timeout = self.options.timeout
        try:
            limit = None if timeout is None else timeout + DEADLINE_GRACE_S
            await asyncio.wait({reader, stop}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if deciding is not None:
                await _end(deciding)
            if asking is not None:
                await _end(asking)
            if not reader.done():
                self.overdue = not stop.done()
                self.progress.note("cancelling …", role="dim")
                tasks.append(asyncio.create_task(host.cancel(trace_id)))
                await asyncio.wait({reader}, timeout=CANCEL_GRACE_S)
            return reader.result() if reader.done() else None
        finally:
            for task in (*tasks, deciding, asking):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, host: HostSession, trace_id: str) -> Result | None:
        async for frame in host.frames():
            if self.stops is not None:
                self.stops.take(frame, self.progress)
            if self.prompt is not None:
                self.prompt.take(frame)
            self.progress.show(frame)
            if isinstance(frame, Result) and frame.trace_id == trace_id:
                return frame
        return None

    def _forget_stops(self) -> None:
        if self.stops is None:
            return
        idle = self.stops.close(find_project([self.options.target]))
        if idle and self.started.is_set() and not self.options.json:
            self.progress.note(f"the run did not come to {', '.join(map(one_line, idle))}", role="dim")

    def _report(self, output: RunOutput, failure: Failure | None = None) -> int:
        """Write the result and the last line; returns the exit code."""
        self.progress.finish()
        try:
            self._write_result(output)
        except BrokenPipeError:
            self.console.abandon()
        failure = failure or self._failure(output)
        if failure is not None:
            self.console.fail(failure)
        self._sum_up(output)
        if self.interrupted.is_set():
            return ExitCode.INTERRUPTED
        return ExitCode.DONE if failure is None else failure.code

    def _write_result(self, output: RunOutput) -> None:
        if self.options.json:
            self.console.json(output.model_dump(mode="json", exclude=None if output.not_recorded else {"not_recorded"}))
        elif output.status in ("ok", "paused") and output.output is not None:
            if self.progress.streamed and self.console.out_terminal:
                self.console.line()
            if isinstance(output.output, str):
                self.console.line(many_lines(output.output))
            else:
                self._write_value(output.output)
        self.console.flush()

    def _write_value(self, value: Any) -> None:
        """A whole value, or on a terminal what can be looked at."""
        folded = False
        if self.console.out_terminal:
            value, folded = fold(value, SCREEN_LINES)
        self.console.line(json_text(value, indent=2))
        if folded:
            self.console.flush()
            self.progress.note("(folded for the terminal: --json, a pipe or a file gets all of it)", role="dim")

    def _failure(self, output: RunOutput) -> Failure | None:
        """What to say about a run that did not end well, or is not in the store."""
        lost = [] if output.not_recorded is None else [f"the run was not recorded: {output.not_recorded}"]
        if output.status in ("ok", "paused"):
            return Failure(lost[0], ExitCode.STORE) if lost else None
        failure = self._why(output)
        failure.details += lost
        return failure

    def _why(self, output: RunOutput) -> Failure:
        error = output.error or {}
        node = error.get("node_name") or (", ".join(self.progress.unfinished) if output.status == "timeout" else None)
        where = f" in {node}" if node else ""
        if output.status == "cancelled":
            _, aborted, why = str(error.get("message") or "").partition("trace cancelled: aborted ")
            return Failure(f"the run was {f'aborted {why}' if aborted else 'cancelled'}{where}", ExitCode.FLOW_FAILED)
        if output.status == "interrupted":
            return Failure(str(error.get("message") or "the run was interrupted"), ExitCode.HOST_DIED)
        raised = self.progress.failures.get(str(node), {})
        frames = user_frames(str(raised.get("traceback") or ""))
        details = [
            line
            for frame in frames
            for line in (f"{frame.file}:{frame.line} in {frame.function}", f"    {frame.text}" if frame.text else "")
            if line
        ]
        what = "timed out" if output.status == "timeout" else "failed"
        code = str(error.get("code") or "")
        told = describe_error(error if code == "DEADLINE_EXCEEDED" else raised or error) or "its deadline has passed"
        return Failure(
            f"the flow {what}{where}: {told}{f' [{code}]' if code and code not in told else ''}",
            ExitCode.FLOW_FAILED,
            hint=self._where_it_asks(output),
            details=details,
        )

    def _where_it_asks(self, output: RunOutput) -> str | None:
        """How a run goes on that asked something where nobody was; None where it did not, or nothing of it is kept."""
        asked = self.progress.unanswered
        if not asked or self.prompt is not None or not self.options.record or output.not_recorded is not None:
            return None
        name = shlex.quote(one_line(output.trace_id))
        return f"`pf fork {name} --at {asked - 1}` in a terminal goes on from before the question"

    def _sum_up(self, output: RunOutput) -> None:
        glyph, role = GLYPHS.get(output.status, "?"), output.status
        parts = [f"{self.console.err_paint(role, f'{glyph} {output.status}')} in {duration(self.progress.elapsed)}"]
        if self.options.record and output.not_recorded is None:
            short = output.trace_id[:12] if _MADE_UP.fullmatch(output.trace_id) else output.trace_id
            parts.append(f"pf inspect {shlex.quote(one_line(short))}")
        self.progress.note(" · ".join(parts))
        if output.status == "paused" and isinstance(output.output, Mapping):
            self._tell_how_to_go_on(output.output)

    def _tell_how_to_go_on(self, pause: Mapping[str, Any]) -> None:
        payload = pause.get("payload")
        prompt = payload.get("prompt") if isinstance(payload, Mapping) else None
        self.progress.note(f"it waits for an answer: {one_line(str(prompt or pause.get('reason')))}")
        if not (self.progress.pause or {}).get("lasting", True):
            self.progress.note("nobody can give it: the run was not recorded, and its planner has no store", "warn")
            return
        given = json_text({"resume": {"pause": pause.get("resume_token"), "user_input": "…"}})
        self.progress.note(f"go on: pf run {shlex.quote(self.options.target)} --input {shlex.quote(given)}")


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel it, and wait for its end; what it could not do does not matter any more, unless it is a defect."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _is_offline(request: Run) -> bool:
    """A replay that goes live at some point may need the connections that are made while the flow is built."""
    return request.replay is not None and request.replay.live_after is None


def _default_input(flow: FlowInfo, target: str) -> Any:
    """The input of a flow that needs none. Raises `Failure` for one that does, with an example."""
    schema = flow.input_schema
    if schema is None or takes_null(schema):
        return None
    if schema.get("type") == "object" and not schema.get("required"):
        return {}
    needed = ", ".join(str(name) for name in schema.get("required", ()))
    what = f"{flow.input_type or 'input'}{f' ({needed})' if needed else ''}"
    example = json_text(flow.samples[0] if flow.samples else _example(schema))
    command = f"pf run {shlex.quote(target)} --input {shlex.quote(example)}"
    raise Failure(f"{target} needs an input: {what}", hint=command)


_EXAMPLES: dict[Any, Any] = {"string": "…", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}


def _example(schema: dict[str, Any]) -> Any:
    """A value in the shape of the input: what is required, one level deep."""
    if schema.get("type") != "object":
        return _EXAMPLES.get(schema.get("type"))
    fields = schema.get("properties", {})
    return {name: _EXAMPLES.get(fields.get(name, {}).get("type")) for name in schema.get("required", ())}
