"""What a flow asks of a state store, and how to find out what a store can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from penguiflow.state.models import RemoteBinding, StoredEvent

__all__ = ["StateStore", "missing_capabilities", "require_capabilities"]


@runtime_checkable
class StateStore(Protocol):
    """Keeps the events of traces and the bindings to remote agents."""

    async def save_event(self, event: StoredEvent) -> None:
        """Keep one event; the same event again changes nothing."""
        ...

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """The events of a trace in ascending order of time; empty for an unknown one."""
        ...

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Keep one binding; the same trace, context and task again replaces it."""
        ...


def missing_capabilities(store: object, methods: Sequence[str]) -> list[str]:
    """The methods that the store does not have."""
    return [method for method in methods if not callable(getattr(store, method, None))]


def require_capabilities(store: object, *, feature: str, methods: Sequence[str]) -> None:
    """Raise `TypeError` when the store lacks a method that the feature needs."""
    missing = missing_capabilities(store, methods)
    if missing:
        raise TypeError(f"StateStore missing {missing} required for feature={feature}")
