"""From a request to its result: a run is made, and driven; in a flow of one node where it is recorded."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from penguiflow.callsite import CallSite
from penguiflow.checkpoints import Interceptor
from penguiflow.context import Context
from penguiflow.core import PenguiFlow, create
from penguiflow.errors import FlowError
from penguiflow.ids import new_id
from penguiflow.llm.wire import load_message
from penguiflow.node import Node, NodePolicy
from penguiflow.planner.artifact_registry import ArtifactRegistry
from penguiflow.planner.budgets import Budgets
from penguiflow.planner.events import PlannerEventCallback, PlannerEvents
from penguiflow.planner.loop import steps
from penguiflow.planner.outcomes import PlannerFinish, PlannerPause
from penguiflow.planner.planned import planned_edits
from penguiflow.planner.protocols import PauseRecord
from penguiflow.planner.requests import PlannerRequest
from penguiflow.planner.run import PlannerRun, RunStep
from penguiflow.planner.signals import RunAborted
from penguiflow.planner.streams import streams_of
from penguiflow.planner.tool_context import RunToolContext
from penguiflow.planner.trajectory import Trajectory, extract_background_results
from penguiflow.planner.visibility import VISIBLE, visible
from penguiflow.registry import ModelRegistry
from penguiflow.steering import SteeringCancelled
from penguiflow.steering.inboxes import inboxes

if TYPE_CHECKING:
    from penguiflow.llm.types import ContentPart
    from penguiflow.planner.config import ToolVisibilityPolicy
    from penguiflow.planner.react import ReactPlanner
    from penguiflow.planner.settings import PlannerSettings
    from penguiflow.steering import SteeringInbox

__all__ = ["LiveParts", "Outcome", "drive", "flow_of", "json_part", "open_run", "recorded", "registry_of", "site_of"]

Outcome = PlannerFinish | PlannerPause
_AT_ONCE = 64
"""Runs of one flow."""


@dataclass(slots=True)
class LiveParts:
    """What a run gets beside its request: objects, which are missing in a replay."""

    tool_context: Mapping[str, Any] | None = None
    steering: SteeringInbox | None = None
    tool_visibility: ToolVisibilityPolicy | None = None
    on_ask: Callable[[str, Any], Awaitable[Any]] | None = None
    event_callback: PlannerEventCallback | None = None
    opened: Callable[[PlannerRun], None] | None = None
    """Told of the run when it is made."""
    before_step: Callable[[], Awaitable[None]] | None = None
    """Awaited before each step."""
    on_step: Callable[[RunStep], Awaitable[None]] | None = None
    """Awaited after each step."""
    alone: bool = False
    """Whether the trace is this run and nothing else: then whoever waits for its results gets its streams, too."""
    ended: RunAborted | SteeringCancelled | None = None
    """Set when somebody outside ended it: a flow would only tell that its trace was cancelled."""


def json_part(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of a mapping is JSON."""
    if values is None:
        return None
    kept: dict[str, Any] = {}
    for key, value in values.items():
        try:
            kept[str(key)] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            continue
    return kept


def site_of(ctx: Any) -> CallSite:
    """The place that a run is made from: a node's context, a tool's, or nowhere."""
    if ctx is None:
        return CallSite()
    if isinstance(ctx, Context):
        return CallSite.of(ctx)
    site = getattr(ctx, "site", None)
    if isinstance(site, CallSite):
        return site
    raise TypeError(f"ctx must be the context of a node or of a tool, not {type(ctx).__name__}")


async def open_run(planner: ReactPlanner, request: PlannerRequest, *, ctx: Any = None, live: LiveParts) -> PlannerRun:
    """Make a run: contexts, memory, hooks, tools, budgets. Raises `KeyError` for a token that is not good any more."""
    settings, site = planner.settings, site_of(ctx)
    record = None if request.resume is None else await _paused(planner, request, site)
    given = live.tool_context if live.tool_context is not None else request.tool_context
    if given is None and record is not None:
        given = record.tool_context
    tool_context = dict(given or {})
    trajectory = _trajectory(request, record, tool_context)
    specs = await visible(planner, site, tool_context, live.tool_visibility, trajectory.metadata.get(VISIBLE))
    if specs is not planner.specs:
        trajectory.metadata[VISIBLE] = list(specs)
    about = {
        "mode": settings.tool_call_mode,
        "model": planner.models.main.model,
        "tools": list(specs),
        "session": tool_context.get("session_id"),
    }
    if record is not None:
        about["resumed"] = record.trace_id
    if request.tool_context is None and record is not None:
        request = request.model_copy(update={"tool_context": record.tool_context})
    run = PlannerRun(
        settings=settings,
        request=request,
        models=planner.models,
        specs=specs,
        trajectory=trajectory,
        budgets=Budgets(
            clock=settings.time_source,
            deadline_s=settings.deadline_s,
            hop_budget=settings.hop_budget,
            limits=settings.usage_limits,
            outer=ctx.budgets if isinstance(ctx, RunToolContext) else None,
        ),
        events=PlannerEvents(
            settings.time_source,
            settings.event_callback,
            live.event_callback,
            keep=_keeps_events(settings.state_store),
        ),
        site=site.open("planner", settings.name, about),
        hints=planner.hints,
        interceptors=_interceptors(settings, site),
        tool_context=tool_context,
        steering=live.steering or inboxes.take(site.trace_id),
        resumed=record,
        on_ask=live.on_ask,
        pauses=partial(planner.pauses, site.store) if settings.pause_enabled else None,
        artifact_store=planner.kept_artifacts,
        planned=None if site.trace_id is None else planned_edits.get(site.trace_id),
    )
    run.streams = streams_of(run.site, settings.name, deliver=live.alone)
    run.artifacts = ArtifactRegistry.from_snapshot(run.trajectory.metadata.get("artifact_registry"))
    run.artifacts.ingest_llm_context(run.trajectory.llm_context)
    run.artifacts.ingest_background_results(run.trajectory.background_results)
    try:
        await _prepare(planner, run, request, record)
    except BaseException:
        run.site.close("error")
        raise
    if live.opened is not None:
        live.opened(run)
    return run


def _interceptors(settings: PlannerSettings, site: CallSite) -> Sequence[Interceptor]:
    """Those of the planner, and of the flow that it runs in: a debugger is one of these."""
    if site.context is None or site.context.runtime is None:
        return settings.interceptors
    of_flow = site.context.runtime._interceptors
    # The list itself: who attaches to the flow later is asked from then on.
    return (*of_flow, *settings.interceptors) if settings.interceptors else of_flow


async def _prepare(planner: ReactPlanner, run: PlannerRun, request: PlannerRequest, record: PauseRecord | None) -> None:
    settings = run.settings
    if settings.short_term_memory is not None:
        from penguiflow.planner.memory.session import open_memory

        key = request.memory_key if request.memory_key is not None or record is None else record.memory_key
        run.memory = await open_memory(
            planner.memories(),
            key=key,
            tool_context=run.tool_context,
            store=settings.state_store,
            site=run.site,
            summarizer=run.models.summarizer,
        )
    if record is not None:
        run.budgets.restore(record.constraints)
        run.action_seq = record.action_seq
        run.counters.update(record.counters)
        run.events.step = len(run.trajectory.steps)
        answer = None if request.resume is None else request.resume.user_input
        run.trajectory.resume_user_input = answer
        run.site.event("planner.resume", record.reason, {"reason": record.reason, "trace_id": record.trace_id})
        run.events.emit("resume", reason=record.reason, user_input=answer)
    elif settings.llm_context_hooks:
        from penguiflow.planner.hooks import apply_hooks

        await apply_hooks(run, run.site)


async def _paused(planner: ReactPlanner, request: PlannerRequest, site: CallSite) -> PauseRecord:
    """The run that is resumed. A replay does not take it again: the recording has it."""
    from penguiflow.planner.asking import given_answer
    from penguiflow.planner.pauses import record_of

    assert request.resume is not None
    token = request.resume.pause

    async def take() -> dict[str, Any]:
        return asdict(await planner.pauses(site.store).take(token))

    record = record_of(await site.call("record", "planner.take", [], take) if site.recorded else await take())
    if record.pending is not None:
        record.pending.journal = given_answer(record.pending.journal, request.resume)
    return record


def _trajectory(request: PlannerRequest, record: PauseRecord | None, tool_context: dict[str, Any]) -> Trajectory:
    if record is not None:
        trajectory = record.restored()
        trajectory.tool_context = tool_context
        trajectory.input_parts = _parts(record.trajectory.get("input_parts") or ())
        return trajectory
    llm_context, background = extract_background_results(request.llm_context)
    return Trajectory(
        query=request.query,
        llm_context=llm_context,
        tool_context=tool_context,
        input_parts=_parts(request.input_parts),
        background_results=background,
    )


def _parts(parts: Any) -> tuple[ContentPart, ...]:
    return tuple(load_message({"role": "user", "parts": list(parts)}).parts) if parts else ()


def _keeps_events(store: Any) -> bool:
    return hasattr(store, "save_planner_event")


async def drive(planner: ReactPlanner, request: PlannerRequest, live: LiveParts, ctx: Any = None) -> Outcome:
    """Make a run and go through it."""
    run = await open_run(planner, request, ctx=ctx, live=live)
    try:
        async with aclosing(steps(run)) as made:
            while run.result is None:
                if live.before_step is not None:
                    await live.before_step()
                step = await anext(made)
                if live.on_step is not None:
                    await live.on_step(step)
                    run.told.clear()  # whoever was shown the step may have changed earlier ones
    except RunAborted as stop:
        live.ended = stop
        raise
    return run.result


def flow_of(planner: ReactPlanner, live: LiveParts | None = None) -> PenguiFlow:
    """A flow of one node that takes a `PlannerRequest` and gives the result of its run."""

    async def plan(request: PlannerRequest, ctx: Context) -> Any:
        parts = live or LiveParts()
        parts.alone = True
        try:
            outcome = await drive(planner, request, parts, ctx)
        except SteeringCancelled as stop:
            # The trace is this run and nothing else: it was cancelled, and has not failed.
            parts.ended = stop
            assert ctx._trace is not None
            ctx._flow()._cancel(ctx._trace, str(stop))
            raise RunAborted("steering", str(stop)) from stop
        if isinstance(outcome, PlannerPause) and ctx._trace is not None:
            ctx._trace.paused = outcome.reason
        return outcome

    policy = NodePolicy(validate="in", max_concurrency=_AT_ONCE)
    return create(Node(plan, name=planner.settings.name, policy=policy).to())


def registry_of(planner: ReactPlanner) -> ModelRegistry:
    """What the flow of a planner takes and gives."""
    registry = ModelRegistry()
    registry.register(planner.settings.name, PlannerRequest, PlannerFinish)
    return registry


async def recorded(
    planner: ReactPlanner, request: PlannerRequest, live: LiveParts, recorder: Any
) -> tuple[Outcome, str]:
    """A run in a trace of its own, and the id of that. Raises what the run raised."""
    about = request.tool_context or {}
    given, session = about.get("trace_id"), about.get("session_id")
    trace_id = new_id() if given is None else str(given)
    if session is not None and hasattr(recorder, "annotate"):
        recorder.annotate(trace_id, {"session": str(session)})
    if given is not None and hasattr(recorder, "prepare"):
        await recorder.prepare(trace_id)  # there may have been a run of that name before
    flow = flow_of(planner, live)
    flow.run(registry=registry_of(planner), recorder=recorder)
    try:
        outcome: Outcome = await flow.call(request, trace_id=trace_id)
    except FlowError as error:
        if live.ended is not None:
            raise live.ended from None
        cause = error.unwrap()
        if cause is not None:
            raise cause from None
        raise
    finally:
        await flow.stop()
    return outcome, trace_id
