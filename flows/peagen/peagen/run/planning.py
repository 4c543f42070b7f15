"""What a run has before it: the files of each project, in order, with all that is needed to make them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from peagen.core.cache import sha_of
from peagen.core.contexts import ProjectContext
from peagen.core.graph import FileGraph, file_graph
from peagen.core.lookup import Lookup, TemplateSet, TemplateSets
from peagen.core.ptree import project_records
from peagen.core.records import FileRecord, node_id, process_type
from peagen.core.sandbox import Renderer
from peagen.core.sort_core import sort_file_records
from peagen.errors import PeagenError, UnknownProject
from peagen.run.files import PlannedFile
from peagen.run.options import FileResult, ProcessOptions
from peagen.run.scheduler import Scheduler

log = logging.getLogger("peagen")


@dataclass(kw_only=True)
class ProjectRun:
    """One project of a run."""

    name: str
    graph: FileGraph
    files: dict[str, PlannedFile | PeagenError] = field(repr=False)
    """Every file that the project has; an error for a record that cannot be used."""
    order: list[str]
    """The files of this run, sorted."""
    next_idx: int
    results: dict[str, FileResult] = field(default_factory=dict, repr=False)

    @property
    def open(self) -> list[str]:
        """Files of which nothing is known yet, in order."""
        return [name for name in self.order if name not in self.results]

    def scheduler(self) -> Scheduler:
        """Of what is open."""
        return Scheduler(self.open, self.graph.parents, self.graph.children)

    def result(self, name: str, status: Any, **more: Any) -> FileResult:
        """What became of a file, with what is known of it."""
        file = self.files[name]
        kind = file.process_type if isinstance(file, PlannedFile) else ""
        record = self.graph.records[name]
        return FileResult(project=self.name, name=name, status=status, process_type=kind, record=record, **more)


@dataclass(frozen=True)
class _About:
    """What the files of one project share."""

    name: str
    context: ProjectContext
    digest: str
    outputs: frozenset[str]


@dataclass(kw_only=True)
class Planner:
    """Plans the projects of one run."""

    options: ProcessOptions
    renderer: Renderer
    sets: TemplateSets
    root: Path
    """The work-tree."""
    overlay: Path | None = None
    keep_in: Path | None = None
    """Where rendered ptrees are put, to be looked at."""
    used: dict[Path, str] = field(default_factory=dict)
    """The folders of the sets that are used, and the digest of each."""
    warnings: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    """Files that were generated, by whichever project and run: they are data, and never templates."""

    async def plan(self, projects: Sequence[Mapping[str, Any]]) -> list[ProjectRun]:
        """The projects that the options name. Raises `PeagenError`."""
        wanted = self.options.project_name
        chosen = [dict(each) for each in projects if wanted in (None, each.get("NAME"))]
        if wanted is not None and not chosen:
            there = ", ".join(str(each.get("NAME")) for each in projects) or "none"
            raise UnknownProject(f"Project '{wanted}' not found in payload", hint=f"There are: {there}.")
        planned = [await self._project(each) for each in chosen]
        makers: dict[str, str] = {}
        for project in planned:
            for name in project.order:
                if makers.setdefault(name, project.name) != project.name:
                    self.warnings.append(f"{name} is made by {makers[name]} and by {project.name}: the last one counts")
        return planned

    async def _project(self, project: dict[str, Any]) -> ProjectRun:
        options, name = self.options, str(project.get("NAME"))
        if options.template_set is not None and not project.get("TEMPLATE_SET"):
            project["TEMPLATE_SET"] = options.template_set
        records = await project_records(project, self.sets, self.renderer, worktree=self.root, keep_in=self.keep_in)
        graph = file_graph(records)
        ordered, next_idx = sort_file_records(
            file_records=records,
            start_idx=options.start_idx,
            start_file=options.start_file,
            transitive=options.transitive,
        )
        if options.start_file and options.start_file not in graph.records:
            self.warnings.append(f"{options.start_file} is no file of {name}, which is processed from its beginning")
        self.made |= graph.records.keys()
        about = _About(name, ProjectContext(project), sha_of(project), frozenset(self.made))
        files = {each: self._file(record, about) for each, record in graph.records.items()}
        order = [node_id(record) for record in ordered]
        if log.isEnabledFor(logging.DEBUG):
            for at, each in enumerate(order, max(options.start_idx, 0)):
                needs = ", ".join(sorted(graph.parents[each])) or "None"
                log.debug("%s: %d) %s   (deps: %s)", name, at, each, needs)
        return ProjectRun(name=name, graph=graph, files=files, order=order, next_idx=next_idx)

    def _file(self, record: FileRecord, about: _About) -> PlannedFile | PeagenError:
        try:
            kind = process_type(record)
        except PeagenError as error:
            return error
        named = record.get("TEMPLATE_SET")
        folder = Path(named) if named else self.root
        if named and folder not in self.used:
            self.used[folder] = TemplateSet(folder.name, folder, "folder").digest
        return PlannedFile(
            name=node_id(record),
            project=about.name,
            context=about.context,
            shared_digest=sha_of([about.digest, self.used.get(folder, "")]),
            record=record,
            set_name=folder.name if named else "",
            set_folder=folder,
            process_type=kind,
            lookup=replace(Lookup.of(record, self.root, about.outputs), ahead=self.overlay),
        )

    def sets_used(self) -> dict[str, dict[str, Any]]:
        """What the lock file says of the sets that are used: `digest`, and `version` of one that was installed."""
        found = {}
        for folder, digest in self.used.items():
            try:
                known = self.sets.find(folder.name)
            except PeagenError:  # it was named by its path
                known = None
            version = _version_of(known) if known is not None and known.folder == folder else {}
            found[folder.name] = {"digest": digest, **version}
        return found


def _version_of(found: TemplateSet) -> dict[str, str]:
    name = found.distribution or ("penguiflow-peagen" if found.source == "bundled" else None)
    try:
        return {} if name is None else {"version": metadata.version(name)}
    except metadata.PackageNotFoundError:  # run from its source
        return {}
