"""For tests of flows: load them as `pf` does."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from penguiflow import ModelRegistry, PenguiFlow
from playground.loader.project_loader import ProjectLoader
from playground.loader.runnable import Runnable
from playground.project import PROJECT_FILE, find_project, project_at

__all__ = ["load_flow"]

Made = Callable[[], Awaitable[tuple[PenguiFlow, ModelRegistry | None]]]


def load_flow(target: str, *, beside: str | Path | None = None) -> Made:
    """A function that gives the flow that `pf run TARGET` would run, and its registry.

    Paths begin at the root of the project that `beside` (a file of it, such as `__file__`) belongs to; by default at
    that of the working directory. Raises `LookupError` with the reason when there is no such flow.
    """
    root = None if beside is None else _root_of(Path(beside).absolute())
    project = find_project() if root is None else project_at(root)

    async def make() -> tuple[PenguiFlow, ModelRegistry | None]:
        loader = ProjectLoader(project, [target], cwd=project.root)
        loader.import_all()
        # The project stays importable; what is imported later needs no record of its sources.
        sys.meta_path.remove(loader.sources)
        await loader.build_all()
        found = _only(loader, target)
        return found.flow, found.registry

    return make


def _root_of(file: Path) -> Path | None:
    return next((folder for folder in file.parents if (folder / PROJECT_FILE).is_file()), None)


def _only(loader: ProjectLoader, target: str) -> Runnable:
    runnables = list(loader.runnables.values())
    for module in loader.modules:
        if module.error is not None:
            raise LookupError(f"{module.path}: {module.error.message}")
    if len(runnables) != 1:
        names = ", ".join(runnable.info.target for runnable in runnables) or "none"
        raise LookupError(f"{target} is to name one flow, and there are: {names}")
    return runnables[0]
