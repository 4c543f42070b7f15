"""One call of a tool: decided upon, retried and bounded by its policy, recorded, told, and made ready for the model."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from penguiflow.artifacts import ArtifactRef
from penguiflow.failures import InterceptorFailed, NodeTimeout, text_of
from penguiflow.planner.blocking import Unblocking
from penguiflow.planner.bounds import OutOfTime, bounded
from penguiflow.planner.checkpoints import consult
from penguiflow.planner.faults import faults_of
from penguiflow.planner.observations import Observed, observe
from penguiflow.planner.outcomes import PlannerPauseReason
from penguiflow.planner.signals import AskSignal, LimitReached, PauseSignal
from penguiflow.planner.tool_context import RunToolContext
from penguiflow.steering import SteeringCancelled
from penguiflow.traces import TraceCancelled

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.checkpoints import CheckpointKind, Decision
    from penguiflow.planner.run import PlannerRun

__all__ = ["ToolFailed", "ToolOutcome", "apply_response", "execute", "name_of", "tool_named"]

_NOT_A_FAILURE = (TraceCancelled, SteeringCancelled, LimitReached, PauseSignal)


@dataclass(slots=True)
class ToolOutcome:
    """What came of a call."""

    observation: Any = None
    llm_observation: Any = None
    """None: the same."""
    error: str | None = None
    failure: Mapping[str, Any] | None = None
    streams: Mapping[str, list[dict[str, Any]]] | None = None
    pause: PauseSignal | None = None
    called: Mapping[str, Any] | None = None
    """Of a call that paused, goes on or was edited: `{tool, args, call_id}` as it was made; None: as was asked for."""


class ToolFailed(Exception):
    """A tool failed for good. A recording makes it again from what a failure is told by."""

    def __init__(
        self,
        failure: Mapping[str, Any],
        text: str,
        spent: Mapping[str, Any] | None = None,
        *,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(failure, text, *([] if spent is None else [spent]))
        self.failure = failure
        self.text = text
        self.spent = spent
        """What runs of planners within it used."""
        self._described_by = cause or self
        """What a log describes in its place."""

    def __str__(self) -> str:
        return str(self.failure["message"])


async def execute(
    run: PlannerRun,
    site: CallSite,
    spec: NodeSpec,
    args: BaseModel,
    *,
    call_id: str,
    extra_context: Mapping[str, Any] | None = None,
    journal: Mapping[str, Any] | None = None,
    join: Mapping[str, Any] | None = None,
) -> ToolOutcome:
    """Call a tool. A failure of the tool is an outcome; hops are taken by the caller.

    Args:
        call_id: Tells the call apart, in events and in messages to the model.
        extra_context: What this call's `tool_context` has besides.
        journal: Of the same call when it was made before and paused in the middle.
        join: Set for the join of a parallel plan: what `before_join` shows besides.

    Raises:
        RunAborted: an interceptor decided so.
        SteeringCancelled: the run is cancelled.
    """
    call = _Call(run, spec, args, call_id, extra_context, journal)
    asked = bool(run.interceptors) or site.recorded
    if asked and journal is None:  # a call that goes on was decided upon when it began
        kind: CheckpointKind = "before_tool" if join is None else "before_join"
        decision = await consult(run, site, kind, spec.name, lambda: {**call.told(), **(join or {})})
        if decision.action == "skip":
            return ToolOutcome(decision.value)
        if decision.action == "edit":
            call.edit(kind, decision)
    while True:
        outcome = await call.made(site)
        again = outcome if not asked or outcome.pause is not None else await _decide_after(run, site, call, outcome)
        if again is None and run.budgets.take_tool_calls():
            continue
        outcome = again or outcome
        if call.edited or journal is not None or outcome.pause is not None:
            outcome.called = call.told()
        return outcome


async def _decide_after(run: PlannerRun, site: CallSite, call: _Call, outcome: ToolOutcome) -> ToolOutcome | None:
    """What an interceptor makes of an outcome; None to call once more."""
    name = call.spec.name
    if outcome.error is not None:
        failed = {"where": "tool", "name": name, "error": outcome.failure, "args": call.told()["args"]}
        decision = await consult(run, site, "on_error", name, lambda: failed)
        if decision.action == "edit":
            call.edit("on_error", decision)
            return None
        if decision.action == "skip":
            return ToolOutcome(decision.value, streams=outcome.streams)
        return None if decision.action == "retry" else outcome
    shown = {**call.told(), "observation": outcome.observation}
    decision = await consult(run, site, "after_tool", name, lambda: shown)
    if decision.action in ("edit", "skip"):
        return ToolOutcome(decision.value, streams=outcome.streams)
    return None if decision.action == "retry" else outcome


def name_of(run: PlannerRun, called: Mapping[str, Any]) -> str:
    """How the model knows the tool of a call."""
    own = called["tool"]
    return next((name for name, spec in run.specs.items() if spec.name == own), own)


def tool_named(run: PlannerRun, name: str) -> NodeSpec | None:
    """A tool by the name that the model knows, or by its own; None when the run has none of it."""
    return run.specs.get(name) or next((each for each in run.specs.values() if each.name == name), None)


class _Call:
    """One call on its way; an interceptor may make it another one."""

    def __init__(
        self,
        run: PlannerRun,
        spec: NodeSpec,
        args: BaseModel,
        call_id: str,
        extra_context: Mapping[str, Any] | None,
        journal: Mapping[str, Any] | None,
    ) -> None:
        self.run = run
        self.spec = spec
        self.args = args
        self.call_id = call_id
        self.extra_context = extra_context
        self.journal = journal
        self.site: CallSite | None = None
        self.edited = False
        self.performed = False
        """Whether it was made now; else the recording has answered it."""

    def told(self) -> dict[str, Any]:
        """The call as it is shown and recorded."""
        return {"tool": self.spec.name, "args": self.args.model_dump(mode="json"), "call_id": self.call_id}

    def edit(self, kind: CheckpointKind, decision: Decision) -> None:
        """Take other arguments, and another tool if one is named."""
        value = decision.value
        args = value
        if isinstance(value, Mapping) and "args" in value and set(value) <= {"tool", "args", "call_id"}:
            args = value["args"]
            wanted = value.get("tool", self.spec.name)
            if wanted != self.spec.name:
                found = tool_named(self.run, wanted)
                if found is None:
                    raise InterceptorFailed(f"what an interceptor gave at {kind} names no tool: {wanted!r}")
                self.spec = found
        self.edited = True
        try:
            self.args = self.spec.args_model.model_validate(args)
        except ValidationError as error:
            about = f"what an interceptor gave at {kind} is not what tool '{self.spec.name}' takes"
            raise InterceptorFailed(f"{about}: {error}") from error

    async def made(self, site: CallSite) -> ToolOutcome:
        """Call the tool, or have the recording's answer; tell of it."""
        run, name = self.run, self.spec.name
        about: dict[str, Any] = {"tool_call_id": self.call_id, "tool_name": name, "action_seq": run.action_seq}
        if run.events.listening:
            run.events.emit("tool_call_start", args_json=self.args.model_dump_json(), **about)
            run.events.emit("tool_call_end", **about)
        try:
            if site.recorded:
                asked = self.told()
                response = await site.call("tool", name, asked, self._perform, site, inside=self._inside, about=_paused)
            else:
                response = await self._perform(site)
        except ToolFailed as failed:
            self._count(failed.spent)
            outcome = ToolOutcome(error=failed.text, failure=failed.failure)
        except LimitReached as reached:
            run.budgets.reached(reached.limit)
            failure = failure_of(name, self.told()["args"], reached.limit, "the run's deadline has passed")
            outcome = ToolOutcome(error=failure["message"], failure=failure)
        except _NOT_A_FAILURE:
            raise
        except Exception as error:  # what a recording has of a failure that cannot be made again as it was
            if not site.recorded:
                raise
            outcome = ToolOutcome(error=self._text(error), failure=self._failure(error))
        else:
            self._count(response.get("spent"))
            outcome = apply_response(run, self.spec, response)
        if run.events.listening:
            run.events.emit("tool_call_result", result_json=_result_json(outcome), **about)
        return outcome

    def _inside(self, site: CallSite) -> None:
        self.site = site

    def _count(self, spent: Mapping[str, Any] | None) -> None:
        """Count what runs within a call used that the recording answers; of one that was made it is counted."""
        if spent is not None and not self.performed:
            self.run.budgets.count(spent)

    async def _perform(self, site: CallSite) -> dict[str, Any]:
        """The response as it is recorded. Raises `ToolFailed`, and what ends the run."""
        run = self.run
        self.performed = True
        within = self.site or site
        ctx = RunToolContext(run, self.spec.name, self.call_id, within, self.extra_context, self.journal)
        try:
            observed = await self._attempts(ctx, within)
        except PauseSignal as signal:
            pause: dict[str, Any] = {"reason": signal.reason, "payload": signal.payload}
            if isinstance(signal, AskSignal):
                pause["journal"] = signal.journal
            return {"pause": pause, **ctx.made()}
        finally:
            ctx.close()
        response: dict[str, Any] = {"observation": observed.observation}
        if observed.for_llm is not None:
            response["llm_observation"] = observed.for_llm
        more = {"artifacts": observed.artifacts, "sources": observed.sources, "clamped": observed.clamped}
        response.update({key: value for key, value in more.items() if value})
        response.update(ctx.made())
        return response

    async def _attempts(self, ctx: RunToolContext, site: CallSite) -> Observed:
        policy, attempt = self.spec.node.policy, 0
        while True:
            try:
                return await self._attempt(ctx)
            except _NOT_A_FAILURE:
                raise
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                failed: BaseException = error  # of the tool's own making
            except BaseExceptionGroup as group:
                failed = _of_group(group)
            except Exception as error:  # whatever a tool raises is an observation
                failed = error
            shown = self._shown(failed)
            if attempt >= policy.max_retries or not policy.retries(failed):
                raise ToolFailed(self._failure(shown), self._text(shown), ctx.spent, cause=shown) from failed
            attempt += 1
            ctx.try_again()
            delay = policy.backoff(attempt)
            about = {"attempt": attempt, "sleep_s": delay, "error": text_of(shown, repr)}
            site.event("node.retry", self.spec.name, about)
            left = self.run.budgets.seconds_left()
            if left is not None and left <= delay:
                await bounded(asyncio.sleep(left), None, self.run.steering)
                raise LimitReached("deadline")
            await bounded(asyncio.sleep(delay), None, self.run.steering)

    async def _attempt(self, ctx: RunToolContext) -> Observed:
        run, policy = self.run, self.spec.node.policy
        left = run.budgets.seconds_left()
        if left == 0:
            raise LimitReached("deadline")
        seconds = policy.timeout_s
        if left is not None and (seconds is None or left < seconds):
            seconds = left
        try:
            result = await bounded(_called(self.spec, self.args, ctx), seconds, run.steering)
        except OutOfTime:
            if seconds == left:
                raise LimitReached("deadline") from None
            raise NodeTimeout from None
        if type(result) is not self.spec.out_model:
            result = self.spec.out_model.model_validate(
                result.model_dump() if isinstance(result, BaseModel) else result
            )
        limits = run.settings.observation_guardrail
        return await observe(result, limits, ctx, keeps=run.artifact_store is not None)

    def _shown(self, failed: BaseException) -> BaseException:
        if isinstance(failed, NodeTimeout):
            return TimeoutError(f"no answer within {self.spec.node.policy.timeout_s} s")
        return failed

    def _text(self, error: BaseException) -> str:
        if isinstance(error, ValidationError) and error.title == self.spec.out_model.__name__:
            return f"tool '{self.spec.name}' gave what is not a {self.spec.out_model.__name__}: {_message(error)}"
        text = _message(error)
        return f"tool '{self.spec.name}' raised {type(error).__name__}{f': {text}' if text else ''}"

    def _failure(self, error: BaseException) -> dict[str, Any]:
        suggestion = getattr(error, "suggestion", None) or getattr(error, "remedy", None)
        args = self.told()["args"]
        return failure_of(self.spec.name, args, type(error).__name__, _message(error), suggestion)


def _paused(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the end of a call says besides: of one that waits for somebody."""
    return {"paused": response["pause"]["reason"]} if "pause" in response else {}


def _message(error: BaseException) -> str:
    return faults_of(error, "the value") if isinstance(error, ValidationError) else text_of(error, str)


def _of_group(group: BaseExceptionGroup[BaseException]) -> Exception:
    """The failure that a tool's own group of tasks tells of.

    Raises what ends or pauses the run, if one of the tasks did that; a pause only where none of the others failed.
    """
    signals, rest = group.split(_NOT_A_FAILURE)
    found = [] if signals is None else sorted(_each(signals), key=lambda each: isinstance(each, PauseSignal))
    if found and (rest is None or not isinstance(found[0], PauseSignal)):
        raise found[0] from None
    if isinstance(rest, ExceptionGroup):
        return rest
    raise group


def _each(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _each(each)
        else:
            yield each


async def _called(spec: NodeSpec, args: BaseModel, ctx: RunToolContext) -> Any:
    made: Any = spec.node.func(args, cast("Any", ctx))
    if inspect.iscoroutine(made):
        return await Unblocking(made, spec.name)
    return await made if inspect.isawaitable(made) else made


def failure_of(node: str, args: Any, code: str, message: str, suggestion: Any = None) -> dict[str, Any]:
    """How a step tells of a tool that failed."""
    failure = {"node": node, "args": args, "error_code": code, "message": message}
    if suggestion is not None:
        failure["suggestion"] = str(suggestion)
    return failure


def apply_response(run: PlannerRun, spec: NodeSpec, response: Mapping[str, Any]) -> ToolOutcome:
    """Take in what a tool gave, now or in the recording: artifacts and sources go into the trajectory."""
    name, place = spec.name, len(run.trajectory.steps)
    stored = response.get("stored")
    if stored:
        for ref in stored:
            run.artifacts.register_binary_artifact(ArtifactRef.model_validate(ref), source_tool=name, step_index=place)
        run.artifacts.write_snapshot(run.trajectory.metadata)
    pause = response.get("pause")
    if pause is not None:
        reason = cast("PlannerPauseReason", pause["reason"])
        if "journal" in pause:
            signal: PauseSignal = AskSignal(reason, pause["payload"], pause["journal"])
        else:
            signal = PauseSignal(reason, pause["payload"])
        return ToolOutcome(pause=signal, streams=response.get("streams"))
    trajectory = run.trajectory
    artifacts = response.get("artifacts")
    if artifacts:
        trajectory.artifacts.setdefault(name, {}).update(artifacts)
        run.artifacts.register_tool_artifacts(name, spec.out_model, artifacts, step_index=place)
        run.artifacts.write_snapshot(trajectory.metadata)
    for source in response.get("sources") or ():
        about = (source.get("title"), source.get("url"), source.get("snippet"))
        known = ((each.get("title"), each.get("url"), each.get("snippet")) for each in trajectory.sources)
        if about not in known:
            trajectory.sources.append(source)
    clamped = response.get("clamped")
    if clamped:
        run.events.emit("observation_clamped", node_name=name, **clamped)
    return ToolOutcome(response["observation"], response.get("llm_observation"), streams=response.get("streams"))


def _result_json(outcome: ToolOutcome) -> str:
    value: Any = outcome.observation if outcome.llm_observation is None else outcome.llm_observation
    if outcome.error is not None:
        value = {"error": outcome.error, "failure": outcome.failure}
    elif outcome.pause is not None:
        value = {"pause": outcome.pause.reason, "payload": outcome.pause.payload}
    return to_json(value, fallback=str).decode()
