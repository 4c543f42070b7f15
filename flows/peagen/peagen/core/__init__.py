"""The functions that the commands are made of; everything is loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peagen.core.payload import load_projects_payload as load_projects_payload
    from peagen.core.sort_core import sort_file_records as sort_file_records

__all__ = [
    "Peagen",
    "load_projects_payload",
    "process_all_projects",
    "process_single_project",
    "sort_file_records",
]

_HOMES = {
    "Peagen": "peagen.core.api",
    "load_projects_payload": "peagen.core.payload",
    "process_all_projects": "peagen.core.process_core",
    "process_single_project": "peagen.core.process_core",
    "sort_file_records": "peagen.core.sort_core",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
