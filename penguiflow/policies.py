"""Policies: what decides, at run time and from outside the code, where a router sends a message."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from penguiflow.node import Node

if TYPE_CHECKING:
    from penguiflow.context import Context

__all__ = [
    "DictRoutingPolicy",
    "PolicyCallable",
    "PolicyLike",
    "RoutingDecisionType",
    "RoutingPolicy",
    "RoutingRequest",
    "evaluate_policy",
]

RoutingDecisionType: TypeAlias = Sequence[Node | str] | Node | str | None
"""Successors, as nodes or by name; None (or none at all) drops the message."""


@dataclass(slots=True)
class RoutingRequest:
    """What a router asks a policy: the message, and where the router itself would send it."""

    message: Any
    context: Context
    node: Node
    """The router."""
    proposed: tuple[Node, ...]
    """Where the message would go without the policy."""
    trace_id: str | None

    @property
    def node_name(self) -> str:
        """The router's name."""
        return str(self.node.name)

    @property
    def proposed_names(self) -> tuple[str, ...]:
        """The names of the proposed successors."""
        return tuple(str(node.name) for node in self.proposed)


class RoutingPolicy(Protocol):
    """Decides where a message goes. A plain function of the request, async or not, will do as well."""

    def select(self, request: RoutingRequest) -> RoutingDecisionType | Awaitable[RoutingDecisionType]:
        """The successors that get the message; None drops it."""
        ...


PolicyCallable: TypeAlias = Callable[[RoutingRequest], RoutingDecisionType | Awaitable[RoutingDecisionType]]
PolicyLike: TypeAlias = RoutingPolicy | PolicyCallable
KeyFn: TypeAlias = Callable[[RoutingRequest], str | None]


async def evaluate_policy(policy: PolicyLike, request: RoutingRequest) -> RoutingDecisionType:
    """Ask a policy, and wait for its answer if it gives one later."""
    select = getattr(policy, "select", None)
    ask = cast("PolicyCallable", policy if select is None else select)
    decision = ask(request)
    if inspect.isawaitable(decision):
        return await decision
    return decision


class DictRoutingPolicy:
    """A table of decisions by key; the key is the trace id unless `key_getter` says otherwise."""

    def __init__(
        self,
        mapping: Mapping[str, RoutingDecisionType],
        *,
        default: RoutingDecisionType = None,
        key_getter: KeyFn | None = None,
    ) -> None:
        self._mapping = dict(mapping)
        self._default = default
        self._key_getter = key_getter or _trace_of

    def select(self, request: RoutingRequest) -> RoutingDecisionType:
        """The decision for the request's key; the default for a key that is unknown or None."""
        key = self._key_getter(request)
        return self._default if key is None else self._mapping.get(key, self._default)

    def update_mapping(self, mapping: Mapping[str, RoutingDecisionType]) -> None:
        """Add decisions to the table, in place of those it has for the same keys; for every message from now on."""
        self._mapping.update(mapping)

    def set_default(self, decision: RoutingDecisionType) -> None:
        """Replace the decision for unknown keys."""
        self._default = decision

    @classmethod
    def from_json(cls, payload: str, **kwargs: Any) -> DictRoutingPolicy:
        """A table from a JSON object; `kwargs` as for the constructor.

        Raises `json.JSONDecodeError` (a `ValueError`) for text that is no JSON, `TypeError` for JSON that is no object.
        """
        mapping = json.loads(payload)
        if not isinstance(mapping, Mapping):
            raise TypeError("JSON payload must decode to a mapping")
        return cls(mapping, **kwargs)

    @classmethod
    def from_json_file(cls, path: str | Path, **kwargs: Any) -> DictRoutingPolicy:
        """As `from_json`, from a UTF-8 file."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"), **kwargs)

    @classmethod
    def from_env(
        cls,
        env_var: str,
        *,
        loader: Callable[[str], Mapping[str, RoutingDecisionType]] | None = None,
        default: RoutingDecisionType = None,
        key_getter: KeyFn | None = None,
    ) -> DictRoutingPolicy:
        """A table from an environment variable that holds JSON, or whatever `loader` reads.

        Raises `KeyError` when the variable is not set, `TypeError` when the loader gives no mapping.
        """
        try:
            value = os.environ[env_var]
        except KeyError:
            raise KeyError(f"Environment variable '{env_var}' not set") from None
        if loader is None:
            return cls.from_json(value, default=default, key_getter=key_getter)
        mapping: object = loader(value)
        if not isinstance(mapping, Mapping):
            raise TypeError("Policy loader must return a mapping")
        return cls(mapping, default=default, key_getter=key_getter)


def _trace_of(request: RoutingRequest) -> str | None:
    return request.trace_id
