"""Which of a planner's tools a run has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.config import ToolVisibilityPolicy
    from penguiflow.planner.react import ReactPlanner

__all__ = ["VISIBLE", "visible"]


VISIBLE = "visible_tools"
"""Under this name `trajectory.metadata` keeps what a policy left: for the run when it is resumed."""


async def visible(
    planner: ReactPlanner,
    site: CallSite,
    tool_context: Mapping[str, Any],
    policy: ToolVisibilityPolicy | None,
    before: Collection[str] | None = None,
) -> Mapping[str, NodeSpec]:
    """The tools of a run, by the names that the model knows.

    What a policy leaves of them is written down: a replay, and whoever goes on with the run after a crash, has no
    policy, and must not have more tools. Nor must a run that was paused, and had those of `before`, unless whoever
    resumes it gives a policy.
    """
    chosen: dict[str, NodeSpec] = {}

    def ask() -> list[str]:
        chosen.update(planner.visible_tools(tool_context, policy))
        return list(chosen)

    told = await site.consult("tools", [], None if policy is None else ask, about=_about)
    told = before if told is None else told
    if told is None:
        return planner.specs
    return chosen or {name: planner.specs[name] for name in told if name in planner.specs}


def _about(_: Any) -> Mapping[str, Any]:
    return {"checkpoint": "tools", "decision": "edit"}
