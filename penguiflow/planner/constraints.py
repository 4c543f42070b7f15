"""What a planner's hints and policies do not let it do, and which tool it can go on with by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError

from penguiflow.planner.actions import PlannerAction

if TYPE_CHECKING:
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.run import PlannerRun
    from penguiflow.planner.settings import PlannerSettings

__all__ = ["DetectionResult", "Hints", "detect_next", "read_only", "refusal"]

_WARNED = "ordering_warned"


@dataclass(frozen=True, slots=True)
class Hints:
    """`planning_hints`, read."""

    ordering: tuple[str, ...] = ()
    parallel_groups: tuple[tuple[str, ...], ...] = ()
    sequential_only: frozenset[str] = frozenset()
    disallow: frozenset[str] = frozenset()
    prefer: tuple[str, ...] = ()
    max_parallel: int | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, planning_hints: Mapping[str, Any] | None) -> Hints:
        """Read them. Raises `ValueError` for one that is not what it should be."""
        hints = planning_hints or {}
        budget = hints.get("budget_hints") or {}
        limits = [hints.get("max_parallel"), budget.get("max_parallel")]
        given = [each for each in limits if each is not None]
        if any(not isinstance(each, int) or isinstance(each, bool) or each < 1 for each in given):
            raise ValueError("planning_hints: max_parallel must be a whole number from 1 on")
        return cls(
            ordering=_names(hints, "ordering_hints"),
            parallel_groups=tuple(tuple(map(str, group)) for group in hints.get("parallel_groups") or ()),
            sequential_only=frozenset(_names(hints, "sequential_only")),
            disallow=frozenset(_names(hints, "disallow_nodes")),
            prefer=_names(hints, "prefer_nodes"),
            max_parallel=min(given) if given else None,
            budget=dict(budget),
        )

    def most_parallel(self, settings: PlannerSettings) -> int:
        """How many calls a parallel plan may have."""
        most = settings.absolute_max_parallel
        return most if self.max_parallel is None else min(most, self.max_parallel)


def _names(hints: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = hints.get(key) or ()
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise ValueError(f"planning_hints: {key} must be a list of names of tools")
    return tuple(map(str, value))


def refusal(run: PlannerRun, action: PlannerAction) -> str | None:
    """Why an action may not be done, as the model is told; None when it may.

    An order that is not kept is refused once; who insists may go on.
    """
    hints = run.hints
    plan = action.get_plan_steps()
    if action.is_terminal():
        return None
    if plan is None:
        nodes = [action.next_node]
    else:
        join = action.get_plan_join()
        joined = join.get("node") if join is not None else None
        nodes = [str(step["node"]) for step in plan] + ([str(joined)] if joined else [])
        most = hints.most_parallel(run.settings)
        if len(plan) > most:
            return f"a parallel plan may have {most} calls at most; this one has {len(plan)}"
        alone = sorted({str(step["node"]) for step in plan} & hints.sequential_only)
        if alone and len(plan) > 1:
            return f"not to be called in a parallel plan: {', '.join(alone)}"
    denied = sorted(set(nodes) & hints.disallow)
    if denied:
        return f"not allowed here: {', '.join(denied)}"
    return _out_of_order(run, nodes) if hints.ordering else None


def _out_of_order(run: PlannerRun, nodes: list[str]) -> str | None:
    order = run.hints.ordering
    state = run.trajectory.hint_state
    done = {str(name) for name in state.get("completed", ())}
    for node in nodes:
        if node not in order:
            continue
        missing = [each for each in order[: order.index(node)] if each not in done and each not in nodes]
        warned: list[str] = state.setdefault(_WARNED, [])
        if missing and node not in warned:
            warned.append(node)
            return f"'{node}' is meant to come after {', '.join(missing)}; call it again if that is not possible"
    return None


def read_only(spec: NodeSpec) -> bool:
    """Whether calling a tool that nobody asked for does no harm."""
    return spec.side_effects in ("pure", "read")


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """Whether one tool alone can go on from the last observation."""

    status: Literal["unique", "ambiguous", "none", "skipped"]
    selected_action: PlannerAction | None = None
    candidates: list[str] | None = None
    reason: str | None = None


def detect_next(run: PlannerRun) -> DetectionResult:
    """Which of the tools with `extra["auto_seq"]` takes the last observation as it is."""
    last = run.trajectory.steps[-1] if run.trajectory.steps else None
    if last is None or last.error is not None or not isinstance(last.observation, Mapping) or not last.observation:
        return DetectionResult("skipped", reason="no_observation")
    if not last.action.is_tool_call():
        return DetectionResult("skipped", reason="not_a_tool_call")
    found: dict[str, BaseModel] = {}
    for name, spec in run.specs.items():
        if not spec.extra.get("auto_seq") or name == last.action.next_node:
            continue
        if run.settings.auto_seq_read_only_only and not read_only(spec):
            continue
        try:
            found[name] = spec.args_model.model_validate(dict(last.observation), strict=False)
        except ValidationError:
            continue
    if len(found) != 1:
        return DetectionResult("ambiguous" if found else "none", candidates=sorted(found))
    [(name, args)] = found.items()
    action = PlannerAction(next_node=name, args=args.model_dump(mode="json"), thought="the one tool that fits")
    return DetectionResult("unique", action, [name])
