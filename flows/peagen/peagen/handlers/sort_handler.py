"""The order of a payload's files, without writing any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peagen.core.graph import file_graph
from peagen.core.lookup import TemplateSets, set_roots
from peagen.core.payload import load_projects_payload
from peagen.core.ptree import project_records
from peagen.core.records import FileRecord, dependencies, node_id
from peagen.core.sandbox import Renderer
from peagen.core.sort_core import sort_file_records
from peagen.errors import PeagenError, UnknownProject


@dataclass(frozen=True)
class Sorted:
    """The files of one project in order, or why there is no order."""

    name: str
    start_idx: int = 0
    records: list[FileRecord] = field(default_factory=list)
    needs: dict[str, list[str]] = field(default_factory=dict)
    """What each file depends on among all files of the project, in the order of its record."""
    next_idx: int = 0
    error: PeagenError | None = None

    def lines(self, show_dependencies: bool = False) -> list[str]:
        """A line for each file: its index and its name, and what it depends on."""
        told = []
        for number, record in enumerate(self.records, self.start_idx):
            name = node_id(record)
            line = f"{number}) {name}"
            if show_dependencies:
                line += f"   (deps: {', '.join(self.needs[name]) or 'None'})"
            told.append(line)
        return told

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        if self.error is not None:
            return {"name": self.name, "error": self.error.report()}
        files = [
            {"index": number, "file": node_id(record), "dependencies": self.needs[node_id(record)]}
            for number, record in enumerate(self.records, self.start_idx)
        ]
        return {"name": self.name, "files": files, "next_idx": self.next_idx}


async def sort_projects(
    source: Any,
    *,
    worktree: Path,
    project_name: str | None = None,
    start_idx: int = 0,
    start_file: str | None = None,
    transitive: bool = False,
    template_base: Sequence[Path] = (),
    template_set: str | None = None,
) -> list[Sorted]:
    """Sort the files of each project by itself: one that cannot be sorted does not keep the others from it.

    Args:
        source: the payload, in any form that `load_projects_payload` takes.
        template_set: for projects that name none.

    Raises:
        PeagenError: the payload cannot be read, or there is no such project.
    """
    projects = chosen_projects(load_projects_payload(source), project_name)
    sets = TemplateSets(set_roots(worktree, template_base))
    found = []
    async with Renderer() as renderer:
        for project in projects:
            name = str(project.get("NAME"))
            try:
                records = await project_records(
                    with_default_set(project, template_set), sets, renderer, worktree=worktree
                )
                ordered, next_idx = sort_file_records(
                    file_records=records, start_idx=start_idx, start_file=start_file, transitive=transitive
                )
            except PeagenError as error:
                found.append(Sorted(name, error=error))
                continue
            known = file_graph(records).records
            needs = {
                node_id(record): [each for each in dict.fromkeys(dependencies(record)) if each in known]
                for record in ordered
            }
            found.append(Sorted(name, max(start_idx, 0), ordered, needs, next_idx))
    return found


def chosen_projects(projects: Sequence[dict[str, Any]], name: str | None) -> list[dict[str, Any]]:
    """All projects, or the one of that name; `UnknownProject` if there is none."""
    if name is None:
        return list(projects)
    found = [project for project in projects if project.get("NAME") == name]
    if not found:
        there = ", ".join(str(project.get("NAME")) for project in projects) or "none"
        raise UnknownProject(f"Project '{name}' not found in payload", hint=f"There are: {there}.")
    return found


def with_default_set(project: dict[str, Any], template_set: str | None) -> dict[str, Any]:
    """The project; with that template set, where it names none."""
    return project if template_set is None or project.get("TEMPLATE_SET") else {**project, "TEMPLATE_SET": template_set}


async def sort_handler(task: Mapping[str, Any]) -> dict[str, Any]:
    """Sort as a task asks: its `args` are those of the command line, with `projects_payload` and `worktree`."""
    args = task.get("args", task)
    found = await sort_projects(
        args["projects_payload"],
        worktree=Path(args.get("worktree") or "."),
        project_name=args.get("project_name"),
        start_idx=int(args.get("start_idx") or 0),
        start_file=args.get("start_file"),
        transitive=bool(args.get("transitive")),
    )
    return {"projects": [each.to_json() for each in found]}
