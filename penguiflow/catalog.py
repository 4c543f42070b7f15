"""Nodes as tools: what a planner tells a model about them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from penguiflow.node import Node
    from penguiflow.registry import ModelRegistry

__all__ = ["NodeSpec", "SideEffect", "ToolInputExample", "ToolLoadingMode", "build_catalog", "tool"]

SideEffect = Literal["pure", "read", "write", "external", "stateful"]
"""What a tool does besides giving a result."""

_ATTRIBUTE = "__penguiflow_tool__"
_EXAMPLE_FIELDS = {"args", "description", "tags"}

F = TypeVar("F", bound=Callable[..., Any])


class ToolLoadingMode(StrEnum):
    """Whether a model is shown a tool at once, or only when it looks for one."""

    ALWAYS = "always"
    DEFERRED = "deferred"


class ToolInputExample(BaseModel):
    """Arguments as a model might give them."""

    model_config = ConfigDict(defer_build=True)

    args: dict[str, Any]
    description: str | None = None
    tags: list[str] = Field(default_factory=list)

    @field_validator("args")
    @classmethod
    def _json_args(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"example args must be JSON-serializable: {error}") from None
        return value

    @field_validator("tags")
    @classmethod
    def _unique_tags(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))


@dataclass(frozen=True)
class NodeSpec:
    """A node with everything that is told of it."""

    node: Node
    name: str
    desc: str
    args_model: type[BaseModel]
    out_model: type[BaseModel]
    side_effects: SideEffect = "pure"
    tags: Sequence[str] = field(default_factory=tuple)
    auth_scopes: Sequence[str] = field(default_factory=tuple)
    cost_hint: str | None = None
    latency_hint_ms: int | None = None
    safety_notes: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    loading_mode: ToolLoadingMode = ToolLoadingMode.ALWAYS
    examples: Sequence[ToolInputExample] = field(default_factory=tuple)

    def examples_payload(self) -> list[dict[str, Any]]:
        """The examples as plain data."""
        return [example.model_dump() for example in self.examples]

    def to_tool_record(self) -> dict[str, Any]:
        """All of it but the node, as JSON: the models as their schemas, of `extra` what is JSON."""
        return {
            "name": self.name,
            "desc": self.desc,
            "side_effects": self.side_effects,
            "loading_mode": self.loading_mode.value,
            "tags": list(self.tags),
            "auth_scopes": list(self.auth_scopes),
            "cost_hint": self.cost_hint,
            "latency_hint_ms": self.latency_hint_ms,
            "safety_notes": self.safety_notes,
            "args_schema": self.args_model.model_json_schema(),
            "out_schema": self.out_model.model_json_schema(),
            "extra": {str(key): value for key, value in self.extra.items() if _is_json(value)},
            "examples": self.examples_payload(),
        }


def tool(
    *,
    desc: str | None = None,
    side_effects: SideEffect = "pure",
    tags: Sequence[str] | None = None,
    auth_scopes: Sequence[str] | None = None,
    cost_hint: str | None = None,
    latency_hint_ms: int | None = None,
    safety_notes: str | None = None,
    arg_validation: Mapping[str, Any] | None = None,
    arg_validator: Callable[..., Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    loading_mode: ToolLoadingMode | str | None = None,
    examples: Sequence[ToolInputExample | Mapping[str, Any]] | Mapping[str, Any] | None = None,
) -> Callable[[F], F]:
    """Say of a node's function what `build_catalog` tells.

    `arg_validation` and `arg_validator` go into `extra` under these names. An example is a `ToolInputExample`, a
    mapping of its fields, or the arguments themselves.

    Raises:
        ValueError: for side effects or a loading mode that there are not, and for an example that is no JSON.
    """
    if side_effects not in get_args(SideEffect):
        raise ValueError(f"side_effects must be one of {', '.join(get_args(SideEffect))}; got {side_effects!r}")
    about = dict(extra or {})
    if arg_validation is not None:
        about["arg_validation"] = dict(arg_validation)
    if arg_validator is not None:
        about["arg_validator"] = arg_validator
    record: dict[str, Any] = {
        "desc": desc,
        "side_effects": side_effects,
        "tags": list(tags or ()),
        "auth_scopes": list(auth_scopes or ()),
        "cost_hint": cost_hint,
        "latency_hint_ms": latency_hint_ms,
        "safety_notes": safety_notes,
        "extra": about,
        "loading_mode": None if loading_mode is None else ToolLoadingMode(loading_mode),
        "examples": _examples(examples),
    }

    def mark(func: F) -> F:
        setattr(func, _ATTRIBUTE, record)
        return func

    return mark


def build_catalog(
    nodes: Sequence[Node], registry: ModelRegistry, *, default_loading_mode: ToolLoadingMode | str | None = None
) -> list[NodeSpec]:
    """What is told of each node, in order.

    The description is that of `tool`, else the function's docstring, else its name.

    Raises:
        KeyError: for a node that is not registered.
        TypeError: for a function that is not in a node.
        ValueError: for two nodes of one name.
    """
    fallback = ToolLoadingMode(default_loading_mode or ToolLoadingMode.ALWAYS)
    specs: dict[str, NodeSpec] = {}
    for node in nodes:
        if not hasattr(node, "func"):
            shown = getattr(node, "__name__", repr(node))
            raise TypeError(f"{shown} is no node: make it one with Node({shown})")
        name = str(node.name)
        if name in specs:
            raise ValueError(f"Two tools are named '{name}'")
        try:
            args_model, out_model = registry.models(name)
        except KeyError:
            needed = f"its models are not known: registry.register({name!r}, <what it takes>, <what it gives>)"
            raise KeyError(f"Node '{name}' not registered; {needed}") from None
        about: Mapping[str, Any] = getattr(node.func, _ATTRIBUTE, {})
        specs[name] = NodeSpec(
            node=node,
            name=name,
            desc=about.get("desc") or inspect.getdoc(node.func) or node.func.__name__,
            args_model=args_model,
            out_model=out_model,
            side_effects=about.get("side_effects", "pure"),
            tags=tuple(about.get("tags", ())),
            auth_scopes=tuple(about.get("auth_scopes", ())),
            cost_hint=about.get("cost_hint"),
            latency_hint_ms=about.get("latency_hint_ms"),
            safety_notes=about.get("safety_notes"),
            extra=dict(about.get("extra", {})),
            loading_mode=about.get("loading_mode") or fallback,
            examples=tuple(about.get("examples", ())),
        )
    return list(specs.values())


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _examples(
    examples: Sequence[ToolInputExample | Mapping[str, Any]] | Mapping[str, Any] | None,
) -> list[ToolInputExample]:
    if examples is None:
        return []
    return [_example(each) for each in ([examples] if isinstance(examples, Mapping) else examples)]


def _example(example: ToolInputExample | Mapping[str, Any]) -> ToolInputExample:
    if isinstance(example, ToolInputExample):
        return example
    if isinstance(example.get("args"), Mapping) and set(example) <= _EXAMPLE_FIELDS:
        return ToolInputExample.model_validate(dict(example))
    return ToolInputExample(args=dict(example))
