"""Tools whose names mean something else to the planner are shown to the model under another name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penguiflow.catalog import NodeSpec
from penguiflow.planner.actions import RESERVED_NEXT_NODES

__all__ = ["build_aliased_tool_catalog", "rewrite_action_node", "shown_names"]

_SUFFIX = "__tool"
_ALSO_RESERVED = frozenset({"plan", "task"})
"""What models write for an opcode."""


def shown_names(
    specs: Iterable[NodeSpec], *, reserved: frozenset[str] | set[str] = RESERVED_NEXT_NODES
) -> dict[str, NodeSpec]:
    """Tools by the name that the model knows: their own, with `__tool` behind it where that is taken."""
    listed = list(specs)
    taken = {spec.name for spec in listed}
    shown: dict[str, NodeSpec] = {}
    for spec in listed:
        name = spec.name
        if name in reserved or name in _ALSO_RESERVED:
            name += _SUFFIX
            while name in taken or name in shown:
                name += "_"
        shown[name] = spec
    return shown


def build_aliased_tool_catalog(
    specs: Sequence[NodeSpec], *, reserved: set[str] | frozenset[str] = RESERVED_NEXT_NODES
) -> tuple[dict[str, NodeSpec], list[dict[str, Any]], dict[str, str]]:
    """Tools by shown name, their records under it, and the real name of each one that is shown under another."""
    shown = shown_names(specs, reserved=reserved)
    records = [{**spec.to_tool_record(), "name": name} for name, spec in shown.items()]
    return shown, records, {name: spec.name for name, spec in shown.items() if name != spec.name}


def rewrite_action_node(node_name: str, *, alias_to_real: Mapping[str, str]) -> str:
    """The real name of a tool that was called by its shown one."""
    return alias_to_real.get(node_name, node_name)
