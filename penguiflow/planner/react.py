"""The planner: its settings, tools and models, and the ways to run it. It keeps nothing of its runs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from pydantic import BaseModel

from penguiflow.artifacts import ArtifactStore, NoOpArtifactStore, discover_artifact_store
from penguiflow.callsite import CallSite
from penguiflow.catalog import NodeSpec, build_catalog
from penguiflow.checkpoints import Interceptor
from penguiflow.llm.connect import provider_of
from penguiflow.llm.types import ContentPart, LLMMessage, ReasoningDisplay
from penguiflow.llm.wire import dump_message
from penguiflow.planner.actions import PlannerAction
from penguiflow.planner.config import (
    ErrorRecoveryConfig,
    ObservationGuardrailConfig,
    ReflectionConfig,
    ToolExamplesConfig,
    ToolPolicy,
    ToolVisibilityPolicy,
    UsageLimits,
)
from penguiflow.planner.constraints import Hints
from penguiflow.planner.driving import LiveParts, Outcome, drive, flow_of, json_part, open_run, recorded, registry_of
from penguiflow.planner.events import PlannerEventCallback
from penguiflow.planner.iteration import PlannerIteration
from penguiflow.planner.outcomes import PlannerFinish, PlannerPauseReason
from penguiflow.planner.requests import PlannerRequest, Resumption
from penguiflow.planner.run import Models
from penguiflow.planner.settings import PlannerSettings
from penguiflow.planner.tool_aliasing import shown_names
from penguiflow.planner.trajectory import Trajectory

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.node import Node
    from penguiflow.planner.memory import MemoryBank, MemoryKey
    from penguiflow.planner.protocols import Pauses
    from penguiflow.registry import ModelRegistry
    from penguiflow.steering import SteeringInbox

__all__ = ["PlannerOptions", "ReactPlanner", "RunOptions"]


class PlannerOptions(TypedDict, total=False):
    """The keyword arguments of `ReactPlanner` besides its model and tools: see `PlannerSettings`."""

    max_iters: int
    tool_call_mode: Literal["prompted", "native"]
    repair_attempts: int
    max_consecutive_arg_failures: int
    arg_fill_enabled: bool
    multi_action_sequential: bool
    multi_action_read_only_only: bool
    multi_action_max_tools: int
    auto_seq_enabled: bool
    auto_seq_execute: bool
    auto_seq_read_only_only: bool
    absolute_max_parallel: int
    planning_hints: Mapping[str, Any] | None
    pause_enabled: bool
    temperature: float
    json_schema_mode: bool
    llm_timeout_s: float
    llm_max_retries: int
    use_native_reasoning: bool
    reasoning_effort: str | None
    reasoning_display: ReasoningDisplay
    stream_final_response: bool
    error_recovery: ErrorRecoveryConfig | None
    system_prompt_extra: str | None
    token_budget: int | None
    tool_examples: ToolExamplesConfig | None
    llm_context_hooks: Sequence[Any] | None
    short_term_memory: Any
    final_response_model: type[BaseModel] | None
    final_response_retries: int
    reflection_config: ReflectionConfig | None
    observation_guardrail: ObservationGuardrailConfig | None
    deadline_s: float | None
    hop_budget: int | None
    usage_limits: UsageLimits | None
    tool_policy: ToolPolicy | None
    name: str
    state_store: Any
    artifact_store: ArtifactStore | None
    recorder: Any
    interceptors: Sequence[Interceptor] | None
    event_callback: PlannerEventCallback | None
    time_source: Callable[[], float] | None
    llm_fallback: Any
    """A `ModelFallbackConfig`."""
    reflection_llm: Any
    """Who criticizes answers, with `reflection_config.use_separate_llm`."""
    summarizer_llm: Any
    use_native_llm: bool
    """There is one way to talk to models; this says nothing any more."""
    llm_transport: str | None
    """As `use_native_llm`."""


class RunOptions(TypedDict, total=False):
    """The keyword arguments of `run` and `iter`."""

    input_parts: Sequence[ContentPart] | None
    """Pictures and sounds that belong to the query."""
    llm_context: Mapping[str, Any] | None
    """JSON that the model is told besides."""
    context_meta: Mapping[str, Any] | None
    """Use `llm_context`."""
    tool_context: Mapping[str, Any] | None
    """What tools are told and the model is not; any objects."""
    memory_key: MemoryKey | None
    steering: SteeringInbox | None
    tool_visibility: ToolVisibilityPolicy | None
    ctx: Any
    """The context of the node or tool that runs the planner: the run joins its trace."""
    on_ask: Callable[[str, Any], Any] | None
    """Answers `ctx.ask(prompt, schema)` while the tool waits: an async function. Without it the run pauses."""
    event_callback: PlannerEventCallback | None
    """Is told the events of this run, besides the planner's own listener, which is told those of all runs."""


_OF_MODELS = frozenset({"llm_fallback", "reflection_llm", "summarizer_llm", "use_native_llm", "llm_transport"})
_KNOWN = frozenset(each.name for each in fields(PlannerSettings))
_OPTIONS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("tool_context", "a mapping", lambda given: isinstance(given, Mapping)),
    ("memory_key", "a MemoryKey", lambda given: hasattr(given, "composite")),
    ("steering", "a SteeringInbox", lambda given: hasattr(given, "wait_if_paused")),
    ("tool_visibility", "a policy with `visible_tools`", lambda given: hasattr(given, "visible_tools")),
    ("on_ask", "a function", callable),
    ("event_callback", "a function", callable),
)
"""Of a run: what they have to be."""


class ReactPlanner:
    """A language model that chooses typed tools until it can answer. One planner serves any number of runs at once."""

    DEFAULT_MAX_PARALLEL = 50

    def __init__(
        self,
        llm: Any = None,
        *,
        nodes: Sequence[Node] | None = None,
        catalog: Sequence[NodeSpec] | None = None,
        registry: ModelRegistry | None = None,
        llm_client: Any = None,
        **options: Unpack[PlannerOptions],
    ) -> None:
        """A planner.

        Args:
            llm: A model: its name, a mapping with `model`, or a `Provider`.
            nodes: The tools, with the `registry` that knows their models; or
            catalog: The tools as `build_catalog` gives them.
            registry: For `nodes`.
            llm_client: A client of the program's own, in the place of `llm`.
            **options: See `PlannerSettings`.

        Raises:
            ValueError: without a model or without tools; for options that exclude each other.
            TypeError: for an option that there is not, and a `short_term_memory` that is none.
        """
        unknown = sorted(set(options) - _KNOWN - _OF_MODELS)
        if unknown:
            raise TypeError(f"ReactPlanner() got an unexpected keyword argument '{unknown[0]}'")
        given: dict[str, Any] = dict(options)
        fallback = given.get("llm_fallback")
        if llm_client is not None and fallback is not None:
            raise ValueError("llm_client and llm_fallback exclude each other: a client does its own falling back")
        if llm is None and llm_client is None:
            raise ValueError("a planner needs a model: give llm or llm_client")
        if catalog is None:
            if nodes is None or registry is None:
                raise ValueError("a planner needs tools: give catalog, or nodes and registry")
            catalog = build_catalog(nodes, registry)
        main = provider_of(llm, fallback=fallback) if llm_client is None else provider_of(llm_client)
        self.models = Models(
            main=main,
            summarizer=_other(given.get("summarizer_llm"), main),
            reflection=_other(given.get("reflection_llm"), main),
        )
        self.settings = PlannerSettings(
            **{key: value for key, value in given.items() if key in _KNOWN and value is not None}
        )
        if self.settings.tool_call_mode not in ("prompted", "native"):
            raise ValueError(f"tool_call_mode must be 'prompted' or 'native'; got {self.settings.tool_call_mode!r}")
        self.hints = Hints.of(self.settings.planning_hints)
        self._catalog: list[NodeSpec] = []
        self._shown: dict[str, NodeSpec] = {}
        self._pauses: Pauses | None = None
        self._memories: MemoryBank | None = None
        self._add_tools(catalog)
        self.memories()

    # What it is

    @property
    def artifact_store(self) -> ArtifactStore:
        """Where tools keep what is large; one that keeps nothing where none was given and the state store has none."""
        return self.kept_artifacts or NoOpArtifactStore()

    @property
    def kept_artifacts(self) -> ArtifactStore | None:
        """The artifact store, if there is one that keeps anything."""
        store = self.settings.artifact_store
        if store is None and self.settings.state_store is not None:
            store = discover_artifact_store(self.settings.state_store)
        return None if isinstance(store, NoOpArtifactStore) else store

    def pauses(self, recorded_in: Any = None) -> Pauses:
        """Who keeps its paused runs: its own store, the one that its runs are recorded in, or else itself."""
        from penguiflow.planner.pauses import PauseStore, keeps_pauses

        if not keeps_pauses(self.settings.state_store) and keeps_pauses(recorded_in):
            return PauseStore(recorded_in)
        if self._pauses is None:
            self._pauses = PauseStore(self.settings.state_store)
        return self._pauses

    def memories(self) -> MemoryBank | None:
        """What it remembers of each conversation; None without `short_term_memory`."""
        if self._memories is None and self.settings.short_term_memory is not None:
            from penguiflow.planner.memory import MemoryBank

            self._memories = MemoryBank(
                self.settings.short_term_memory,
                store=self.settings.state_store,
                summarizer=self.models.summarizer,
            )
        return self._memories

    @property
    def specs(self) -> Mapping[str, NodeSpec]:
        """Its tools, by the names that models know."""
        return self._shown

    def visible_tools(
        self, tool_context: Mapping[str, Any], visibility: ToolVisibilityPolicy | None = None
    ) -> Mapping[str, NodeSpec]:
        """The tools of a run, by the names that the model knows."""
        if visibility is None:
            return self._shown
        return shown_names(visibility.visible_tools(list(self._catalog), tool_context))

    def _add_tools(self, specs: Iterable[NodeSpec]) -> int:
        known, policy = {spec.name for spec in self._catalog}, self.settings.tool_policy
        added = 0
        for spec in specs:
            if spec.name in known or (policy is not None and not policy.is_allowed(spec.name, spec.tags)):
                continue
            known.add(spec.name)
            self._catalog.append(spec)
            added += 1
        # Runs under way keep the tools that they began with.
        self._shown = shown_names(self._catalog)
        return added

    def fork(
        self,
        *,
        catalog_filter: Callable[[NodeSpec], bool] | None = None,
        tool_policy: ToolPolicy | None = None,
        inherit_policy: bool = True,
    ) -> ReactPlanner:
        """Another planner with the same model and settings, without the listener for events.

        Its tools are those that `catalog_filter` lets through and the policies allow; with `inherit_policy` those of
        this planner's policy and of `tool_policy` together.
        """
        policy = _merged(self.settings.tool_policy, tool_policy) if inherit_policy else tool_policy
        other = object.__new__(type(self))
        other.models = self.models
        other.settings = replace(self.settings, event_callback=None, tool_policy=policy)
        other.hints = self.hints
        other._catalog, other._shown = [], {}
        other._pauses, other._memories = self.pauses(), self.memories()
        other._add_tools(spec for spec in self._catalog if catalog_filter is None or catalog_filter(spec))
        return other

    def as_flow(self) -> tuple[PenguiFlow, ModelRegistry]:
        """A flow of one node, named as the planner, that takes a `PlannerRequest` and gives the result of its run."""
        return flow_of(self), registry_of(self)

    # Running it

    async def run(self, query: str, **options: Unpack[RunOptions]) -> Outcome:
        """Answer a query. Gives a `PlannerPause` where a tool waits for somebody.

        Raises:
            TypeError: an `llm_context` that is no JSON, or a `tool_context` that is no mapping.
            LLMError: the model failed, after all retries.
            RunAborted: an interceptor decided so.
            SteeringCancelled: it was cancelled by a steering event.
        """
        request, live = _request(query, options)
        return await self._driven(request, live, options.get("ctx"))

    async def resume(
        self,
        token: str,
        user_input: str | None = None,
        *,
        answer: Any = None,
        tool_context: Mapping[str, Any] | None = None,
        memory_key: MemoryKey | None = None,
        steering: SteeringInbox | None = None,
        tool_visibility: ToolVisibilityPolicy | None = None,
        on_ask: Callable[[str, Any], Any] | None = None,
        event_callback: PlannerEventCallback | None = None,
        ctx: Any = None,
    ) -> Outcome:
        """Go on with a run that is paused; `tool_context` takes the place of the one that it had.

        Args:
            token: The `resume_token` of its pause; good once.
            user_input: What the model is told, and the answer to `ctx.ask` where `answer` is not given.
            answer: The answer to `ctx.ask`: JSON.

        Raises:
            KeyError: for a token that is unknown, used or expired.
        """
        given: RunOptions = {"tool_context": tool_context, "memory_key": memory_key, "steering": steering}
        given["tool_visibility"], given["on_ask"], given["event_callback"] = tool_visibility, on_ask, event_callback
        request, live = _request("", given)
        request.resume = Resumption(pause=token, user_input=user_input, answer=answer)
        return await self._driven(request, live, ctx)

    def iter(self, query: str, **options: Unpack[RunOptions]) -> PlannerIteration:
        """A run that is gone through step by step.

        `async with planner.iter(query) as run: async for step in run: …`; `run.result` is there after the last step.
        """
        request, live = _request(query, options)
        return PlannerIteration(self, request, live, options.get("ctx"))

    async def fork_at(
        self,
        trace_id: str,
        step: int,
        *,
        edits: Mapping[str, Any] | None = None,
        store: Any = None,
        flow: PenguiFlow | None = None,
    ) -> Outcome:
        """Go on with a recorded run from one of its steps, in a new trace: see `penguiflow.planner.forking.fork_at`."""
        from penguiflow.planner.forking import fork_at

        return await fork_at(self, trace_id, step, edits=edits, store=store, flow=flow)

    async def step(self, trajectory: Trajectory) -> PlannerAction:
        """Decide what comes next in a trajectory, and do nothing about it."""
        from penguiflow.planner.decisions import decide

        run = await open_run(self, PlannerRequest(query=trajectory.query), live=LiveParts(trajectory.tool_context))
        run.trajectory = trajectory
        return await decide(run, CallSite())

    async def pause(self, reason: PlannerPauseReason, payload: Mapping[str, Any] | None = None) -> Outcome:
        """Raises `RuntimeError`: a run is paused from within, by `ctx.pause` of a tool."""
        raise RuntimeError("no run to pause: a planner has any number of them; use ctx.pause(…) in a tool")

    async def _driven(self, request: PlannerRequest, live: LiveParts, ctx: Any) -> Outcome:
        recorder = self.recorder() if ctx is None else None
        if recorder is None:
            outcome = await drive(self, request, live, ctx)
            trace_id = None if ctx is not None else (live.tool_context or {}).get("trace_id")
        else:
            outcome, trace_id = await recorded(self, request, live, recorder)
        if trace_id is not None and isinstance(outcome, PlannerFinish):
            outcome.metadata["trace_id"] = str(trace_id)
        return outcome

    def recorder(self) -> Any:
        """Who records its runs outside of flows; None where nobody does."""
        if self.settings.recorder is not None:
            return self.settings.recorder
        make = getattr(self.settings.state_store, "recorder", None)
        return None if make is None else make(name=self.settings.name)


def _other(llm: Any, main: Any) -> Any:
    return main if llm is None else provider_of(llm)


def _merged(ours: ToolPolicy | None, theirs: ToolPolicy | None) -> ToolPolicy | None:
    if ours is None or theirs is None:
        return ours or theirs
    allowed = ours.allowed_tools
    if theirs.allowed_tools is not None:
        allowed = theirs.allowed_tools if allowed is None else allowed & theirs.allowed_tools
    return ToolPolicy(
        allowed_tools=allowed,
        denied_tools=ours.denied_tools | theirs.denied_tools,
        require_tags=ours.require_tags | theirs.require_tags,
    )


def _check_options(query: str, options: RunOptions) -> None:
    unknown = sorted(set(options) - RunOptions.__optional_keys__)
    if unknown:
        raise TypeError(f"a run got an unexpected keyword argument {unknown[0]!r}")
    if not isinstance(query, str):
        raise TypeError(f"query must be a string, not {type(query).__name__}")
    for name, what, fits in _OPTIONS:
        value = options.get(name)
        if value is not None and not fits(value):
            raise TypeError(f"{name} must be {what}, not {type(value).__name__}")


def _request(query: str, options: RunOptions) -> tuple[PlannerRequest, LiveParts]:
    """What a run is asked as data, and the objects beside it. Raises `TypeError` for what is none of these."""
    _check_options(query, options)
    context, tools = options.get("llm_context"), options.get("tool_context")
    if options.get("context_meta") is not None:
        warnings.warn("context_meta is deprecated: use llm_context", DeprecationWarning, stacklevel=4)
        context = {**(options["context_meta"] or {}), **(context or {})}
    key, parts = options.get("memory_key"), options.get("input_parts")
    request = PlannerRequest(
        query=query,
        llm_context=None if context is None else _json_context(context),
        tool_context=json_part(tools),
        memory_key=None if key is None else key.composite(),
        input_parts=_dumped(parts or ()),
    )
    live = LiveParts(
        tool_context=tools,
        steering=options.get("steering"),
        tool_visibility=options.get("tool_visibility"),
        on_ask=options.get("on_ask"),
        event_callback=options.get("event_callback"),
    )
    return request, live


def _dumped(parts: Sequence[ContentPart]) -> list[dict[str, Any]]:
    message = dump_message(LLMMessage("user", tuple(parts)))
    # One text alone is written without parts.
    return [{"type": "text", "text": message["content"]}] if "content" in message else list(message["parts"])


def _json_context(context: Any) -> dict[str, Any]:
    if not isinstance(context, Mapping):
        raise TypeError(f"llm_context must be a mapping, not {type(context).__name__}")
    try:
        made: dict[str, Any] = json.loads(json.dumps(dict(context), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"llm_context must be JSON: {error}") from None
    return made
