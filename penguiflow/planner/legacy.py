"""Actions in the form that stands on disk: `{thought, next_node, args, plan, join}`, where null means the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penguiflow.planner.actions import FINAL_RESPONSE, PARALLEL, PlannerAction

__all__ = ["action_of", "dump_action_legacy"]

_ANSWERS = ("raw_answer", "answer")


def dump_action_legacy(action: PlannerAction) -> dict[str, Any]:
    """An action in the form that earlier versions read."""
    data: dict[str, Any] = {"thought": action.thought, "next_node": None, "args": None, "plan": None, "join": None}
    if action.is_terminal():
        data["args"] = action.args
    elif action.is_parallel():
        data["plan"] = action.get_plan_steps() or []
        data["join"] = action.get_plan_join()
    else:
        data["next_node"] = action.next_node
        data["args"] = action.args
    return data


def action_of(data: Mapping[str, Any]) -> PlannerAction:
    """The action that a mapping stands for, in today's form or an earlier one.

    Raises:
        ValueError: when it stands for none; the text says what is missing or of the wrong type.
    """
    nested = data.get("action")
    if isinstance(nested, Mapping) and "next_node" not in data:
        return action_of({"thought": data.get("thought"), **nested})
    thought = data.get("thought")
    thought = thought if isinstance(thought, str) else ""
    plan = data.get("plan")
    next_node, args = data.get("next_node"), data.get("args")
    if isinstance(plan, list) and plan and next_node in (None, PARALLEL, "plan"):
        return PlannerAction(next_node=PARALLEL, args=_plan(plan, data.get("join")), thought=thought)
    if next_node is None:
        if "next_node" not in data and not any(key in data for key in _ANSWERS):
            raise ValueError("'next_node' is missing")
        if args is None:
            args = {key: value for key, value in data.items() if key not in ("thought", "next_node", "plan", "join")}
        return PlannerAction(next_node=FINAL_RESPONSE, args=_answer(args), thought=thought)
    if not isinstance(next_node, str) or not next_node.strip():
        raise ValueError(f"'next_node' must be the name of a tool, not {next_node!r}")
    next_node = next_node.strip()
    if next_node == "plan":
        next_node = PARALLEL
    if next_node == FINAL_RESPONSE:
        return PlannerAction(next_node=next_node, args=_answer(args), thought=thought)
    if args is None:
        args = {}
    if not isinstance(args, Mapping):
        raise ValueError(f"'args' must be an object, not {type(args).__name__}")
    if next_node == PARALLEL:
        return PlannerAction(next_node=PARALLEL, args=_plan(args.get("steps"), args.get("join")), thought=thought)
    return PlannerAction(next_node=next_node, args=dict(args), thought=thought)


def _answer(args: Any) -> dict[str, Any]:
    """Arguments of an answer: texts are the answer itself."""
    if isinstance(args, Mapping):
        return dict(args)
    if isinstance(args, str):
        return {"answer": args}
    if isinstance(args, list) and all(isinstance(each, str) for each in args):
        return {"answer": "\n".join(args)}
    if args is None:
        return {}
    raise ValueError(f"'args' of an answer must be an object or a text, not {type(args).__name__}")


def _plan(steps: Any, join: Any) -> dict[str, Any]:
    if not isinstance(steps, list):
        raise ValueError("'steps' of a parallel plan must be a list")
    plan: dict[str, Any] = {"steps": [_call(step, number) for number, step in enumerate(steps)]}
    if isinstance(join, str) and join.strip():
        join = {"node": join.strip()}
    if not (join is None or join == "" or isinstance(join, Mapping)):
        raise ValueError("'join' of a parallel plan must be an object with 'node' and 'args', or null")
    if isinstance(join, Mapping) and join.get("node"):
        args = join.get("args")
        if not (args is None or isinstance(args, Mapping)):
            raise ValueError("'args' of the join must be an object")
        inject = join.get("inject")
        if isinstance(inject, Mapping) and isinstance(inject.get("mapping"), Mapping):
            inject = inject["mapping"]
        plan["join"] = {"node": str(join["node"]), "args": dict(args or {})}
        if isinstance(inject, Mapping):
            plan["join"]["inject"] = dict(inject)
    return plan


def _call(step: Any, number: int) -> dict[str, Any]:
    node = (step.get("node") or step.get("next_node")) if isinstance(step, Mapping) else None
    args = step.get("args") if isinstance(step, Mapping) else None
    if not isinstance(node, str) or not (args is None or isinstance(args, Mapping)):
        raise ValueError(f"step {number} of a parallel plan must be {{'node', 'args'}}")
    return {"node": node, "args": dict(args or {})}
