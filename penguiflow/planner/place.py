"""What can be decided at the checkpoints of a planner, and the contexts and the memory of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from penguiflow.checkpoints import Action, CheckpointKind, Part, Unfit
from penguiflow.llm.wire import REQUEST_SCHEMA, fitting_request
from penguiflow.node_place import change_envelope, envelope_parts
from penguiflow.observer import Payload
from penguiflow.planner.actions import FINAL_RESPONSE, PARALLEL
from penguiflow.planner.execution import tool_named
from penguiflow.planner.interventions import TOOL_CONTEXT_KEY
from penguiflow.planner.legacy import action_of
from penguiflow.planner.outcomes import FinalPayload
from penguiflow.unfit import fitting, made, schema_of

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["RunPlace"]

_ALL: Sequence[Action] = ("proceed", "edit", "skip", "retry", "inject", "abort")
_BEFORE: Sequence[Action] = ("proceed", "edit", "skip", "inject", "abort")
_CALLS = ("before_tool", "before_join", "on_error")
_MOST_TOOLS = 64
"""In a schema; of more only the one that is about to be called."""
_PLAN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"node": {"type": "string"}, "args": {"type": "object"}},
                "required": ["node"],
            },
        },
        "join": {"type": ["object", "null"]},
    },
    "required": ["steps"],
}


class RunPlace:
    """A checkpoint of a planner's run (this is a `penguiflow.checkpoints.Place`)."""

    def __init__(self, run: PlannerRun, site: CallSite, kind: CheckpointKind, payload: Any) -> None:
        """`payload` as it is shown."""
        self._run = run
        self._site = site
        self._kind = kind
        self._payload = payload

    @property
    def actions(self) -> Sequence[Action]:
        """See `Place`."""
        if self._kind == "on_error" and not self._of_tool:
            return tuple(action for action in _ALL if action != "edit")
        return _BEFORE if self._kind in ("before_llm", "before_tool", "before_join") else _ALL

    @property
    def editable(self) -> str:
        """See `Place`."""
        return "/observation" if self._kind == "after_tool" else ""

    def shown(self) -> Any:
        """See `Place`."""
        return self._payload

    def schema(self, action: Literal["edit", "skip"]) -> dict[str, Any] | None:
        """See `Place`."""
        if action == "skip":
            return self._result_schema()
        match self._kind:
            case "before_llm":
                return REQUEST_SCHEMA
            case "after_decision":
                return self._decision_schema()
            case "after_tool":
                return self._result_schema()
            case "before_finish":
                return schema_of(FinalPayload)
        return self._calls_schema("tool") if self._of_tool else None

    def checked(self, action: Action, value: Any) -> Any:
        """See `Place`."""
        if action == "skip" and self._kind == "before_llm" and not isinstance(value, str):
            raise Unfit([("", "in place of the model's reply there must be its text")])
        if action != "edit" and not (action == "skip" and self._kind == "before_finish"):
            return value
        match self._kind:
            case "before_llm":
                fitting(lambda: fitting_request(value))
            case "after_decision":
                self._check_decision(value)
            case "after_tool":
                self._check_observation(value)
            case "before_finish":
                if not isinstance(value, str):
                    made(FinalPayload, value)
            case _:
                return self._call(value)
        return value

    def parts(self) -> Mapping[str, Part]:
        """See `Place`."""
        run, context = self._run, self._site.context
        found = {} if context is None else envelope_parts(context)
        found["llm_context"] = Part(_with_changes(run))
        found["tool_context"] = Part(_json_of(run.tool_context))
        return found

    def change(self, part: str, value: Any, by: str) -> None:
        """See `Place`. The next prompt has another `llm_context`, the next tool another `tool_context`."""
        run, context = self._run, self._site.context
        if part in ("llm_context", "tool_context"):
            if not isinstance(value, dict):
                raise Unfit([("", "it must be an object")])
            before = _with_changes(run) if part == "llm_context" else _json_of(run.tool_context)
            changes = {key: item for key, item in value.items() if key not in before or before[key] != item}
            changes.update(dict.fromkeys(before.keys() - value.keys()))
            if part == "llm_context":
                fitting(lambda: run.edit_context(**changes))
            else:
                _change_tools(run, changes)
            about = {"of": part, "before": Payload(before), "after": Payload(value), "by": by}
            self._site.event("edit", part, {**about, "checkpoint": self._kind})
        elif context is None:
            raise Unfit([("", f"there is no {part} here")])
        else:
            change_envelope(context, part, value, by)

    def memory(self) -> Any:
        """See `Place`. One that ends with its run is nobody else's."""
        from penguiflow.planner.memory.session import EPHEMERAL

        memory = self._run.memory
        return None if memory is None or memory.key == EPHEMERAL else memory.editor(self._run)

    def kv(self) -> Any:
        """See `Place`."""
        from penguiflow.planner.tool_kv import run_kv

        return run_kv(self._run)

    # -- schemas ------------------------------------------------------------------------------------------------------

    @property
    def _of_tool(self) -> bool:
        return self._kind in _CALLS and "args" in self._payload

    def _tool(self) -> Any:
        """What is told of the tool that this is about; None where it is about none."""
        name = self._payload.get("tool") or (self._payload.get("name") if self._of_tool else None)
        return None if name is None else tool_named(self._run, name)

    def _result_schema(self) -> dict[str, Any] | None:
        if self._kind == "before_finish":
            return schema_of(FinalPayload)
        if self._kind == "before_llm" or (self._kind == "on_error" and not self._of_tool):
            return {"type": "string"}
        spec = self._tool()
        return None if spec is None else schema_of(spec.out_model)

    def _decision_schema(self) -> dict[str, Any]:
        schema = self._calls_schema("next_node")
        for name, args in ((FINAL_RESPONSE, {"type": "object"}), (PARALLEL, _PLAN)):
            schema["anyOf"].append({"properties": {"next_node": {"const": name}, "args": args}})
            schema["properties"]["next_node"]["enum"].append(name)
        schema["properties"]["thought"] = {"type": ["string", "null"]}
        return schema

    def _calls_schema(self, field: str) -> dict[str, Any]:
        """Of an object that names a tool in `field` and has its `args`; the tool that it is about comes first."""
        named = self._payload.get(field) or self._payload.get("name")
        specs = {(spec.name if field == "tool" else name): spec for name, spec in self._run.specs.items()}
        names = sorted(specs, key=lambda name: (name != named, name))
        shown = names if len(names) <= _MOST_TOOLS else names[:1]
        definitions: dict[str, Any] = {}
        choices = []
        for name in shown:
            args = dict(schema_of(specs[name].args_model) or {"type": "object"})
            definitions.update(args.pop("$defs", {}))
            choices.append({"properties": {field: {"const": name}, "args": args}})
        if len(shown) < len(names):
            choices.append({"properties": {field: {"enum": names[1:]}, "args": {"type": "object"}}})
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {field: {"enum": names}, "args": {"type": "object"}},
            "required": ["args"] if self._kind == "on_error" else [field, "args"],
            "anyOf": choices,
        }
        return {**schema, "$defs": definitions} if definitions else schema

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check_decision(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise Unfit([("", "a decision is an object with next_node and args")])
        action = fitting(lambda: action_of(value))
        if value.get("next_node") == self._payload.get("next_node") and value.get("args") == self._payload.get("args"):
            return  # what the model gave is dealt with as ever
        if action.is_parallel():
            for number, step in enumerate(action.args.get("steps", ())):
                self._check_args(step["node"], step["args"], f"/args/steps/{number}")
            join = action.args.get("join")
            if join is not None and tool_named(self._run, join["node"]) is None:
                raise Unfit([("/args/join/node", self._no_tool(join["node"]))])
        elif not action.is_terminal():
            self._check_args(action.next_node, action.args, "", field="next_node")

    def _check_args(self, name: str, args: Any, at: str, field: str = "node") -> None:
        spec = self._run.specs.get(name)
        if spec is None:
            raise Unfit([(f"{at}/{field}", self._no_tool(name))])
        made(spec.args_model, args, f"{at}/args")

    def _check_observation(self, value: Any) -> None:
        """It is what the tool says that it gives, where what the tool gave is."""
        spec = self._tool()
        if spec is None:
            return
        try:
            made(spec.out_model, self._payload.get("observation"))
        except Unfit:
            return
        made(spec.out_model, value)

    def _call(self, value: Any) -> dict[str, Any]:
        """A call as it is to be made. The tool and its arguments, or the arguments alone."""
        if not self._of_tool:
            raise Unfit([("", "there is nothing to be edited: the call of a model is made again, or not")])
        if not isinstance(value, Mapping):
            raise Unfit([("", "a call is an object with args")])
        bare = not ("args" in value and set(value) <= {"tool", "args", "call_id", *self._payload})
        own = self._payload.get("tool") or self._payload.get("name")
        name, args = (own, value) if bare else (value.get("tool") or own, value["args"])
        spec = tool_named(self._run, str(name))
        if spec is None:
            raise Unfit([("/tool", self._no_tool(str(name)))])
        made(spec.args_model, args, "" if bare else "/args")
        call = {"tool": spec.name, "args": args}
        return {**call, "call_id": self._payload["call_id"]} if "call_id" in self._payload else call

    def _no_tool(self, name: str) -> str:
        return f"there is no tool {name!r}; there are {', '.join(sorted(self._run.specs)) or 'none'}"


def _with_changes(run: PlannerRun) -> dict[str, Any]:
    """`llm_context` with what was changed since the last step; what a memory shows is no part of it."""
    from penguiflow.planner.interventions import MEMORY_KEY

    shown = dict(run.trajectory.llm_context or {})
    for change in run.changes:
        for key, value in change.items():
            if key == TOOL_CONTEXT_KEY or (key == MEMORY_KEY and run.memory is not None):
                continue
            if value is None:
                shown.pop(key, None)
            else:
                shown[key] = value
    return shown


def _json_of(values: Mapping[str, Any]) -> dict[str, Any]:
    from penguiflow.planner.driving import json_part

    return json_part(values) or {}


def _change_tools(run: PlannerRun, changes: Mapping[str, Any]) -> None:
    """At once, and again where the run goes on after a crash; objects that are no JSON stay."""
    for key, value in changes.items():
        if value is None:
            run.tool_context.pop(key, None)
        else:
            run.tool_context[key] = value
    run.changes.append({TOOL_CONTEXT_KEY: dict(changes)})
