"""Where runs and their state are kept."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.state.models import RemoteBinding, StoredEvent
    from penguiflow.state.protocol import StateStore, missing_capabilities, require_capabilities
    from penguiflow.state.sqlite import SQLiteStateStore

_HOMES = {
    "RemoteBinding": "models",
    "SQLiteStateStore": "sqlite",
    "StateStore": "protocol",
    "StoredEvent": "models",
    "missing_capabilities": "protocol",
    "require_capabilities": "protocol",
}

__all__ = [
    "RemoteBinding",
    "SQLiteStateStore",
    "StateStore",
    "StoredEvent",
    "missing_capabilities",
    "require_capabilities",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
