"""The arguments of a tool: validated, filled where a few are missing, refused where they are no real ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from penguiflow.llm.errors import LLMError
from penguiflow.planner.arg_filling import fill_request, give_up, values_of
from penguiflow.planner.faults import faults_of
from penguiflow.planner.model_calls import ask_model
from penguiflow.planner.native import mode_of
from penguiflow.planner.placeholders import (
    AUTO_STR_SENTINEL,
    ArgPolicy,
    autofilled,
    is_simple,
    placeholder_paths,
    root_of,
)
from penguiflow.planner.prompts.texts import render_arg_repair_message, render_validation_error

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.actions import PlannerAction
    from penguiflow.planner.run import PlannerRun

__all__ = ["AUTO_STR_SENTINEL", "ArgsRefused", "prepare_args"]

_FAILURES = "arg_failures"
"""In the trajectory's metadata, by tool: `{consecutive, autofill, filled}`."""
_MOST_AUTOFILLS = 2
_KEPT = 10


@dataclass(frozen=True, slots=True)
class ArgsRefused:
    """The tool is not called."""

    error: str
    """What the step says."""
    finish: dict[str, Any] | None = None
    """Set when it was refused too often: what the run ends with, as `no_path`."""


@dataclass(slots=True)
class _Candidate:
    """Arguments on their way."""

    args: dict[str, Any]
    model: BaseModel
    source: str
    """`llm`, `alternate`, `autofill` or `arg_fill`."""
    filled: Sequence[str] = ()


async def prepare_args(
    run: PlannerRun, site: CallSite, action: PlannerAction, spec: NodeSpec
) -> BaseModel | ArgsRefused:
    """The arguments that a tool is called with. `action.args` become these where they were not good as they stood.

    Raises:
        LimitReached: a limit of the run is reached while a model is asked for values.
    """
    made = _candidate(action, spec)
    if not isinstance(made, _Candidate):
        return await _refused(run, site, action, made, missing=[], autofill=False)
    error, paths = await _rejection(run, action, spec, made)
    if error is None:
        return _accepted(run, action, made)
    missing = list(dict.fromkeys([*made.filled, *map(root_of, paths)]))
    _tell_invalid(run, action, made, error, paths)
    state = _state(run, action.next_node)
    if made.filled:
        run.count("autofill_rejection_count")
        state["autofill"] += 1
    if state["autofill"] < _MOST_AUTOFILLS and _may_fill(run, spec, state, missing):
        state["filled"] = 1
        filled = await _fill(run, site, action, spec, made, missing)
        if filled is not None:
            return _accepted(run, action, filled)
    return await _refused(run, site, action, error, missing=missing, autofill=bool(made.filled))


def _candidate(action: PlannerAction, spec: NodeSpec) -> _Candidate | str:
    """Arguments that fit the model: as they are, of another action of the reply, or filled. Else what is wrong."""
    try:
        return _Candidate(action.args, spec.args_model.model_validate(action.args), "llm")
    except ValidationError as error:
        problem = error
    except Exception as error:  # a validator of the program's own that raises what pydantic does not expect
        return render_validation_error(action.next_node, f"{type(error).__name__}: {error}")
    for other in action.alternate_actions or ():
        args = other.get("args")
        if other.get("next_node") == action.next_node and isinstance(args, dict):
            model = _fits(spec, args)
            if model is not None:
                return _Candidate(args, model, "alternate")
    found = autofilled(spec.args_model, action.args, problem)
    if found is not None:
        model = _fits(spec, found[0])
        if model is not None:
            return _Candidate(found[0], model, "autofill", found[1])
    return render_validation_error(action.next_node, faults_of(problem))


def _fits(spec: NodeSpec, args: dict[str, Any]) -> BaseModel | None:
    try:
        return spec.args_model.model_validate(args)
    except Exception:  # a validator of the program's own may raise anything: these arguments are not the ones
        return None


async def _rejection(
    run: PlannerRun, action: PlannerAction, spec: NodeSpec, made: _Candidate
) -> tuple[str | None, dict[str, str]]:
    """Why valid arguments are not taken, and where placeholders stand in them."""
    policy = ArgPolicy.of(spec)
    paths = placeholder_paths(made.args, policy.placeholders)
    error = policy.rejects(paths, made.filled)
    if error is None:
        error = await _own_check(spec, made.model, action)
    if error is None and (paths or made.filled):
        run.count("args_suspect_count")
        if policy.emit_suspect:
            run.events.emit("planner_args_suspect", **_about(action, made, None, paths))
        _keep(run, "suspect_args", _about(action, made, None, paths))
    return error, paths


async def _own_check(spec: NodeSpec, model: BaseModel, action: PlannerAction) -> str | None:
    """What the tool's `arg_validator` says against the arguments."""
    check = spec.extra.get("arg_validator")
    if check is None:
        return None
    try:
        told = check(model, action)
        if inspect.isawaitable(told):
            told = await told
    except Exception as error:  # the program's own check: what it raises is what is wrong with the arguments
        return f"{type(error).__name__}: {error}"
    if told is None or told is True:
        return None
    if isinstance(told, Mapping):
        told = told.get("error") or told.get("message") or dict(told)
    return "the arguments were rejected" if told is False else str(told)


def _accepted(run: PlannerRun, action: PlannerAction, made: _Candidate) -> BaseModel:
    if made.args is not action.args:
        action.args = made.args
    failures = run.trajectory.metadata.get(_FAILURES)
    if failures and action.next_node in failures:
        failures[action.next_node]["consecutive"] = 0
        run.counters["consecutive_arg_failures"] = 0
    return made.model


def _state(run: PlannerRun, tool: str) -> dict[str, int]:
    """What failed until now of the arguments of a tool."""
    failures: dict[str, dict[str, int]] = run.trajectory.metadata.setdefault(_FAILURES, {})
    return failures.setdefault(tool, {"consecutive": 0, "autofill": 0, "filled": 0})


async def _refused(
    run: PlannerRun, site: CallSite, action: PlannerAction, error: str, *, missing: list[str], autofill: bool
) -> ArgsRefused:
    """The tool is not called: the model is told why, or the run ends when that has been said often enough."""
    state = _state(run, action.next_node)
    state["consecutive"] += 1
    run.counters["consecutive_arg_failures"] = state["consecutive"]
    often = state["consecutive"] >= run.settings.max_consecutive_arg_failures
    if often or (autofill and state["autofill"] >= _MOST_AUTOFILLS):
        return ArgsRefused(error, await give_up(run, site, action, error, missing))
    run.notes.append(render_arg_repair_message(action.next_node, error, tool_call_mode=mode_of(run)))
    return ArgsRefused(error)


def _tell_invalid(
    run: PlannerRun, action: PlannerAction, made: _Candidate, error: str, paths: Mapping[str, str]
) -> None:
    run.count("args_invalid_count")
    about = _about(action, made, error, paths)
    run.events.emit("planner_args_invalid", **about)
    _keep(run, "invalid_args", about)


def _about(action: PlannerAction, made: _Candidate, error: str | None, paths: Mapping[str, str]) -> dict[str, Any]:
    return {
        "tool": action.next_node,
        "error_summary": error,
        "placeholders": sorted(set(paths.values())),
        "placeholder_paths": list(paths),
        "autofilled_fields": list(made.filled),
        "source": made.source,
    }


def _keep(run: PlannerRun, name: str, about: dict[str, Any]) -> None:
    kept = run.trajectory.metadata.setdefault(name, [])
    kept.append(about)
    del kept[:-_KEPT]


# Asking for what is missing


def _may_fill(run: PlannerRun, spec: NodeSpec, state: Mapping[str, int], missing: list[str]) -> bool:
    if not run.settings.arg_fill_enabled or state["filled"] or not missing:
        return False
    types = {info.alias or name: info.annotation for name, info in spec.args_model.model_fields.items()}
    return all(name in types and is_simple(types[name]) for name in missing)


async def _fill(
    run: PlannerRun, site: CallSite, action: PlannerAction, spec: NodeSpec, made: _Candidate, missing: list[str]
) -> _Candidate | None:
    """Ask a model for the values of a few fields; None when it does not give good ones."""
    run.count("arg_fill_attempts")
    run.events.emit("arg_fill_attempt", node_name=action.next_node, missing_fields=missing)
    started = perf_counter()
    error: str | None
    try:
        response = await ask_model(run, site, fill_request(run, action, spec, missing), purpose="arg_fill")
    except LLMError as failure:
        error, found = f"{type(failure).__name__}: {failure}", None
    else:
        given = values_of(response.message.text, missing)
        for path in placeholder_paths(given, ArgPolicy.of(spec).placeholders):
            given.pop(root_of(path), None)
        args = {**made.args, **given}
        model = _fits(spec, args) if len(given) == len(missing) else None
        found = None if model is None else _Candidate(args, model, "arg_fill")
        error = "the reply has no values that fit"
        if found is not None:
            error, _ = await _rejection(run, action, spec, found)
    latency_ms = (perf_counter() - started) * 1e3
    if found is None or error is not None:
        run.count("arg_fill_failure_count")
        run.events.emit(
            "arg_fill_failure", node_name=action.next_node, latency_ms=latency_ms, error=error, missing_fields=missing
        )
        return None
    run.count("arg_fill_success_count")
    run.events.emit("arg_fill_success", node_name=action.next_node, latency_ms=latency_ms, filled_fields=missing)
    return found
