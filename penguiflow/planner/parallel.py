"""A plan of several calls at once, and the join of what they gave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from penguiflow.observer import Payload
from penguiflow.planner.actions import PlannerAction
from penguiflow.planner.bounds import end_tasks
from penguiflow.planner.execution import ToolOutcome, execute, name_of, tool_named
from penguiflow.planner.faults import faults_of
from penguiflow.planner.signals import AskSignal, PauseSignal

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.protocols import PendingCall
    from penguiflow.planner.run import PlannerRun

__all__ = ["JOIN", "PlanOutcome", "run_plan"]

JOIN = -1
"""The branch number of a plan's join."""
_IMPLICIT = {
    "results": "$results",
    "branches": "$branches",
    "failures": "$failures",
    "expect": "$expect",
    "success_count": "$success_count",
    "failure_count": "$failure_count",
}
"""Fields of a join without `inject` that are filled by their names."""


@dataclass(slots=True)
class _Branch:
    number: int
    node: str
    spec: NodeSpec
    args: BaseModel
    given: dict[str, Any]
    """The arguments as the model wrote them."""


@dataclass(slots=True)
class _Join:
    node: str
    spec: NodeSpec
    args: dict[str, Any]
    inject: Mapping[str, str] | None


@dataclass(slots=True)
class PlanOutcome:
    """What came of a plan."""

    observation: dict[str, Any] | None = None
    llm_observation: dict[str, Any] | None = None
    error: str | None = None
    """The plan was refused as a whole: nothing of it was called."""
    failure: Mapping[str, Any] | None = None
    pause: PauseSignal | None = None
    paused: dict[str, Any] = field(default_factory=dict)
    """`{branch, tool, args, call_id, done}` of the call that paused."""
    streams: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


async def run_plan(
    run: PlannerRun, site: CallSite, action: PlannerAction, *, pending: PendingCall | None = None
) -> PlanOutcome:
    """Check a plan, then make its calls at once, then the join.

    Args:
        pending: The call that paused when the plan was begun: what was done then is not done again.
    """
    try:
        branches, join = _checked(run, action)
    except ValueError as problem:
        return PlanOutcome(error=str(problem))
    if pending is None:
        refused = _taken(run, len(branches) + (join is not None))
        if refused is not None:
            return PlanOutcome(error=refused)
    before = {} if pending is None else {int(entry["branch"]): dict(entry) for entry in pending.done}
    done = {number: entry for number, entry in before.items() if "journal" not in entry}
    shown = {number: entry.pop("shown") for number, entry in done.items() if "shown" in entry}
    open_ = [branch for branch in branches if branch.number not in done]
    room = _room(open_)
    outcomes = await _all(
        [_branch(run, site, branch, _begun(branch, pending, before), room.get(branch.spec.name)) for branch in open_]
    )
    result = PlanOutcome()
    waiting: list[dict[str, Any]] = []
    for branch, outcome in zip(open_, outcomes, strict=True):
        done[branch.number], shown[branch.number] = _entry(run, branch, outcome)
        for stream, pieces in (outcome.streams or {}).items():
            result.streams.setdefault(stream, []).extend(pieces)
        if outcome.pause is None:
            continue
        about = {**(outcome.called or {}), "branch": branch.number}
        if result.pause is None:
            result.pause, result.paused = outcome.pause, about
        elif isinstance(outcome.pause, AskSignal):
            # It is asked when its turn comes: what it was given until now is not asked for again.
            waiting.append({**about, "journal": outcome.pause.journal})
    entries = [done[branch.number] for branch in branches]
    for_llm = [shown.get(branch.number, done[branch.number]) for branch in branches]
    failures = [entry for entry in entries if "error" in entry]
    stats = {"success": sum("observation" in entry for entry in entries), "failed": len(failures)}
    joined: dict[str, Any] | None = None
    if join is not None:
        joined, made = await _joined(run, site, join, entries, pending)
        if made is not None and made.pause is not None:
            result.pause = made.pause
            result.paused = {**(made.called or {}), "branch": JOIN}
    if result.pause is not None:
        finished = [_kept(number, entry, shown) for number, entry in sorted(done.items()) if "pause" not in entry]
        result.paused["done"] = [*finished, *waiting]
    tail: dict[str, Any] = {"stats": stats} if joined is None else {"stats": stats, "join": joined}
    result.observation = {"branches": [_public(entry) for entry in entries], **tail}
    if any(one is not other for one, other in zip(entries, for_llm, strict=True)):
        result.llm_observation = {"branches": [_public(entry) for entry in for_llm], **tail}
    return result


def _begun(
    branch: _Branch, pending: PendingCall | None, before: Mapping[int, Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """What a branch is to go on with: `{tool, args, call_id, journal}`; None when it has not begun."""
    if pending is not None and pending.branch == branch.number:
        about = {"tool": pending.tool, "args": pending.args, "call_id": pending.call_id}
        return {**about, "journal": pending.journal}
    entry = before.get(branch.number)
    return entry if entry is not None and "journal" in entry else None


def _kept(number: int, entry: Mapping[str, Any], shown: Mapping[int, Any]) -> dict[str, Any]:
    """A branch that is finished, for when the plan goes on."""
    kept = {**entry, "branch": number}
    if shown.get(number) not in (None, entry):
        kept["shown"] = shown[number]
    return kept


def _checked(run: PlannerRun, action: PlannerAction) -> tuple[list[_Branch], _Join | None]:
    """The plan's calls. Raises `ValueError` that tells the model what is wrong with all of them."""
    problems: list[str] = []
    branches: list[_Branch] = []
    steps = action.get_plan_steps() or []
    if not steps:
        raise ValueError("a parallel plan needs at least one call in 'steps'")
    for number, step in enumerate(steps):
        node, given = str(step.get("node")), dict(step.get("args") or {})
        spec = run.specs.get(node)
        if spec is None:
            problems.append(f"step {number}: there is no tool '{node}'; there are {', '.join(sorted(run.specs))}")
            continue
        try:
            branches.append(_Branch(number, node, spec, spec.args_model.model_validate(given), given))
        except ValidationError as error:
            problems.append(f"step {number}: {faults_of(error)}")
    join = action.get_plan_join()
    made: _Join | None = None
    node_of_join = join.get("node") if join is not None else None
    if join is not None and node_of_join:
        spec = run.specs.get(str(node_of_join))
        inject = join.get("inject")
        if spec is None:
            problems.append(f"join: there is no tool '{node_of_join}'")
        else:
            made = _Join(str(node_of_join), spec, dict(join.get("args") or {}), inject)
            for target, source in (inject or {}).items():
                if source not in _IMPLICIT.values():
                    known = ", ".join(_IMPLICIT.values())
                    problems.append(f"join: '{target}' is to get {source!r}, which is none of {known}")
    if problems:
        raise ValueError("the parallel plan was not begun: " + "; ".join(problems))
    return branches, made


def _taken(run: PlannerRun, calls: int) -> str | None:
    """Take hops and calls for all of a plan; why it may not be begun where they are not left."""
    budgets = run.budgets
    if not budgets.take_hops(calls):
        left = max(0, (budgets.hop_budget or 0) - budgets.hops_used)
        return f"the parallel plan was not begun: it needs {calls} hops, and {left} are left"
    if not budgets.take_tool_calls(calls):
        budgets.give_back_hops(calls)
        return f"the parallel plan was not begun: it needs {calls} calls of tools, and not as many are left"
    return None


async def _all(work: Sequence[Coroutine[Any, Any, ToolOutcome]]) -> list[ToolOutcome]:
    """Do it all at once. Where one part ends the run, the others are cancelled and awaited first."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()  # raises what ends the run
        return [task.result() for task in tasks]
    finally:
        await end_tasks(set(tasks))


def _room(branches: Sequence[_Branch]) -> dict[str, asyncio.Semaphore]:
    """For how many calls there is room at once, of tools that bound it."""
    bounds = {branch.spec.name: branch.spec.node.policy.at_once for branch in branches}
    return {name: asyncio.Semaphore(bound) for name, bound in bounds.items() if bound is not None}


async def _branch(
    run: PlannerRun,
    site: CallSite,
    branch: _Branch,
    begun: Mapping[str, Any] | None,
    room: asyncio.Semaphore | None,
) -> ToolOutcome:
    if room is None:
        return await _called(run, site, branch, begun)
    async with room:
        return await _called(run, site, branch, begun)


async def _called(run: PlannerRun, site: CallSite, branch: _Branch, begun: Mapping[str, Any] | None) -> ToolOutcome:
    about = {"node": branch.node, "args": Payload(branch.given)} if site.recorded else None
    place = site.open("branch", branch.node, about, ordinal=branch.number)
    spec = branch.spec if begun is None else tool_named(run, begun["tool"]) or branch.spec
    args = branch.args if begun is None else spec.args_model.model_validate(begun["args"])
    status, ended = "cancelled", None
    try:
        outcome = await execute(
            run,
            place,
            spec,
            args,
            call_id=_call_id(run, branch.number) if begun is None else begun["call_id"],
            journal=None if begun is None else begun["journal"],
        )
        status = _status(outcome)
        ended = None if outcome.pause is None else {"paused": outcome.pause.reason}
        return outcome
    except Exception:
        status = "error"
        raise
    finally:
        place.close(status, ended)


def _status(outcome: ToolOutcome) -> str:
    return "error" if outcome.error is not None else "interrupted" if outcome.pause is not None else "ok"


def _call_id(run: PlannerRun, number: int) -> str:
    return f"call_{run.action_seq}_parallel_{'join' if number == JOIN else number}"


def _entry(run: PlannerRun, branch: _Branch, outcome: ToolOutcome) -> tuple[dict[str, Any], dict[str, Any]]:
    """A branch as the observation has it, and as the model is shown it."""
    called = outcome.called
    entry: dict[str, Any] = {"node": branch.node, "args": branch.args.model_dump(mode="json")}
    if called is not None:
        entry = {"node": name_of(run, called), "args": called["args"]}
    if outcome.error is not None:
        entry["error"] = outcome.error
        if outcome.failure is not None:
            entry["failure"] = dict(outcome.failure)
    elif outcome.pause is not None:
        entry["pause"] = {"reason": outcome.pause.reason, "payload": outcome.pause.payload}
    else:
        entry["observation"] = outcome.observation
        if outcome.llm_observation is not None:
            return entry, {**entry, "observation": outcome.llm_observation}
    return entry, entry


def _public(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "branch"}


async def _joined(
    run: PlannerRun, site: CallSite, join: _Join, entries: list[dict[str, Any]], pending: PendingCall | None
) -> tuple[dict[str, Any], ToolOutcome | None]:
    """The join as the observation has it, and its call if it was made."""
    about: dict[str, Any] = {"node": join.node}
    failures = [_public(entry) for entry in entries if "error" in entry]
    reason = "branch_failures" if failures else "pause" if any("pause" in entry for entry in entries) else None
    if reason is not None:
        if failures:
            # Its hop and its call were taken with those of the branches.
            run.budgets.give_back_hops(1)
            run.budgets.give_back_tool_calls(1)
        told = {"failures": failures} if failures else {}
        return {**about, "status": "skipped", "reason": reason, **told}, None
    again = pending if pending is not None and pending.branch == JOIN else None
    results = [entry["observation"] for entry in entries]
    try:
        args = join.spec.args_model.model_validate(_injected(join, entries, results) if again is None else again.args)
    except ValidationError as error:
        return {**about, "args": join.args, "error": f"the join's arguments do not fit: {faults_of(error)}"}, None
    place = site.open("join", join.node)
    status = "cancelled"
    try:
        outcome = await execute(
            run,
            place,
            join.spec,
            args,
            call_id=_call_id(run, JOIN) if again is None else again.call_id,
            extra_context={
                "parallel_results": results,
                "parallel_success_count": len(results),
                "parallel_failure_count": 0,
                "parallel_failures": [],
                "parallel_input": dict(join.args),
            },
            journal=None if again is None else again.journal,
            join={"branches": [_public(entry) for entry in entries]},
        )
        status = _status(outcome)
    except Exception:
        status = "error"
        raise
    finally:
        place.close(status, {"came": len(entries)})
    about["args"] = args.model_dump(mode="json") if outcome.called is None else outcome.called["args"]
    if outcome.error is not None:
        about["error"] = outcome.error
        if outcome.failure is not None:
            about["failure"] = dict(outcome.failure)
    elif outcome.pause is not None:
        about["pause"] = {"reason": outcome.pause.reason, "payload": outcome.pause.payload}
    else:
        about["observation"] = outcome.observation if outcome.llm_observation is None else outcome.llm_observation
    return about, outcome


def _injected(join: _Join, entries: list[dict[str, Any]], results: list[Any]) -> dict[str, Any]:
    """The join's arguments. Without `inject`, fields with the names of sources that are not given get these."""
    sources: dict[str, Any] = {
        "$results": results,
        "$branches": [_public(entry) for entry in entries],
        "$failures": [],
        "$success_count": len(results),
        "$failure_count": 0,
        "$expect": len(entries),
    }
    args = dict(join.args)
    inject = join.inject
    if inject is None:
        fields = join.spec.args_model.model_fields
        inject = {name: source for name, source in _IMPLICIT.items() if name in fields and name not in args}
    args.update({target: sources[source] for target, source in inject.items()})
    return args
