"""Hooks that add to `llm_context` before a run begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic_core import to_jsonable_python

from penguiflow.observer import Payload
from penguiflow.planner.prompts.texts import as_json

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["LLMContextHook", "LLMContextHookInput", "apply_hooks"]


@dataclass(frozen=True, slots=True)
class LLMContextHookInput:
    """What a hook is told."""

    query: str
    llm_context: Mapping[str, Any]
    tool_context: Mapping[str, Any]
    memory_key: Any
    """The `MemoryKey` as `tenant:user:session`; None without memory."""


class LLMContextHook(Protocol):
    """Adds to what the model is told, once per run."""

    async def before_run(self, inp: LLMContextHookInput) -> Mapping[str, Any] | None:
        """Keys of `llm_context` with their values, which must be JSON; None or nothing changes nothing."""
        ...


async def apply_hooks(run: PlannerRun, site: CallSite) -> None:
    """Ask each hook, in order; a later one sees what earlier ones added. One that fails is told of, and left out.

    What a hook gives is a call: a replay does not run it again.
    """
    trajectory = run.trajectory
    for hook in run.settings.llm_context_hooks:
        name = type(hook).__name__
        before = dict(trajectory.llm_context or {})
        key = None if run.memory is None else run.memory.key
        inp = LLMContextHookInput(trajectory.query, before, dict(run.tool_context), key)
        told = await site.call("record", "llm_context_hook", name, _ask, hook, inp)
        if told["error"] is not None:
            run.events.emit("llm_context_hook_failed", error=told["error"], hook_name=name, error_type=told["type"])
            continue
        patch = told["patch"]
        if not patch:
            continue
        trajectory.llm_context = {**before, **patch}
        about = {"of": "llm_context", "before": Payload(before), "after": Payload(trajectory.llm_context), "by": name}
        site.event("context.changed", "llm_context", about)
        size = len(as_json(patch).encode())
        run.events.emit("llm_context_hook_applied", hook_name=name, keys_added=sorted(patch), bytes_est=size)


async def _ask(hook: LLMContextHook, inp: LLMContextHookInput) -> dict[str, Any]:
    try:
        patch = await hook.before_run(inp)
        return {"patch": to_jsonable_python(dict(patch or {})), "error": None, "type": None}
    except Exception as error:  # a program's own hook: the run does without what it would have added
        return {"patch": {}, "error": f"{type(error).__name__}: {error}", "type": type(error).__name__}
