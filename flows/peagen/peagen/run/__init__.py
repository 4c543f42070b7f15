"""A run: files of projects worked through in the order of their dependencies."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peagen.run.options import FileResult as FileResult
    from peagen.run.options import ProcessOptions as ProcessOptions
    from peagen.run.options import Report as Report
    from peagen.run.processing import check as check
    from peagen.run.processing import process as process

__all__ = ["FileResult", "ProcessOptions", "Report", "check", "process"]

_HOMES = {
    "FileResult": "peagen.run.options",
    "ProcessOptions": "peagen.run.options",
    "Report": "peagen.run.options",
    "check": "peagen.run.processing",
    "process": "peagen.run.processing",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
