"""Tools that are added to a planner that is made already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penguiflow.catalog import NodeSpec

if TYPE_CHECKING:
    from penguiflow.planner.react import ReactPlanner

__all__ = ["extend_tool_catalog"]


def extend_tool_catalog(planner: ReactPlanner, specs: Sequence[NodeSpec]) -> int:
    """Add tools; runs that begin after this have them. Returns how many were added.

    What the planner's policy does not allow, and what it has already under that name, is left out.
    """
    return planner._add_tools(specs)
