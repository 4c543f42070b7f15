"""What can be exchanged: where events go, where artifacts and results are kept, how versions are kept."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peagen.plugins.manager import PluginManager
    from peagen.plugins.protocols import Publisher, ResultBackend, Storage, Vcs

_HOMES = {
    "PluginManager": "manager",
    "Publisher": "protocols",
    "ResultBackend": "protocols",
    "Storage": "protocols",
    "Vcs": "protocols",
}

__all__ = ["PluginManager", "Publisher", "ResultBackend", "Storage", "Vcs"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
