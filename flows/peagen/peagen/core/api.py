"""Peagen in a program: the class of the README."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from peagen.core.payload import load_projects_payload
from peagen.core.process_core import in_a_loop
from peagen.core.records import FileRecord
from peagen.run import ProcessOptions, Report, process
from peagen.run.options import OnEvent

log = logging.getLogger("peagen")


class Peagen:
    """Processes the projects of a payload, from a program.

    ```python
    pea = Peagen(projects_payload_path="projects.yaml", agent_env={"provider": "scripted"})
    projects = pea.load_projects()
    records, idx = pea.process_single_project(projects[0], start_idx=0)
    ```

    The functions may be called with and without an event loop in the thread; those that begin with `a` are awaited.
    """

    def __init__(
        self,
        projects_payload_path: Any = None,
        *,
        agent_env: Mapping[str, Any] | None = None,
        git_filter: Any | None = None,
        publisher: Any | None = None,
        worktree: Path | str | None = None,
        workers: int | None = None,
        template_base_dir: Path | str | None = None,
        on_event: OnEvent | None = None,
        options: ProcessOptions | None = None,
    ) -> None:
        """What is processed, and how.

        Args:
            projects_payload_path: a path, YAML, or what `load_projects_payload` takes besides.
            agent_env: `provider`, `model_name`, `api_key`, `temperature`, `max_tokens`, `base_url`.
            git_filter: where copies of the files go: `upload(key, file)`.
            publisher: told of runs: `publish(channel, event)`.
            worktree: the folder that files are generated into; the current one by default.
            workers: files that are worked on at once; by default what `.peagen.toml` says.
            template_base_dir: a further folder with template sets.
            on_event: see `peagen.run.options.OnEvent`.
            options: everything else; what is given by name here counts more.
        """
        base = options or ProcessOptions(worktree=Path(worktree or "."))
        given: dict[str, Any] = {"worktree": None if worktree is None else Path(worktree), "agent_env": agent_env}
        given |= {"storage": git_filter, "publisher": publisher}
        if template_base_dir is not None:
            given["template_base"] = (*base.template_base, Path(template_base_dir))
        base = replace(base, **{name: value for name, value in given.items() if value is not None})
        if workers is None and options is None:
            from peagen.config import load_config

            config = load_config(None, base.worktree)
            base = replace(base, config=config, workers=config.worker_count)
        elif workers is not None:
            base = replace(base, workers=workers)
        self.options = base
        self.report: Report | None = None
        """Of the last run."""
        self._payload = projects_payload_path
        self._on_event = on_event

    def load_projects(self) -> list[dict[str, Any]]:
        """The projects of the payload. Raises `PeagenError`."""
        return load_projects_payload(self._payload)

    async def aprocess_single_project(
        self,
        project: Mapping[str, Any],
        start_idx: int = 0,
        start_file: str | None = None,
        transitive: bool = False,
    ) -> tuple[list[FileRecord], int]:
        """Make the files of one project. Returns the records of those that are there, and the index to go on from."""
        options = replace(
            self.options, start_idx=start_idx, start_file=start_file, transitive=transitive, project_name=None
        )
        self.report = report = await self._processed([project], options)
        name = str(project.get("NAME"))
        return report.processed[name], report.next_idx[name]

    async def aprocess_all_projects(self, transitive: bool = False) -> dict[str, list[FileRecord]]:
        """Make the files of all projects. Returns the records of those that are there, by project."""
        options = replace(self.options, transitive=transitive)
        self.report = report = await self._processed(self.load_projects(), options)
        return report.processed

    def process_single_project(
        self,
        project: Mapping[str, Any],
        start_idx: int = 0,
        start_file: str | None = None,
        transitive: bool = False,
    ) -> tuple[list[FileRecord], int]:
        """As `aprocess_single_project`."""
        return in_a_loop(lambda: self.aprocess_single_project(project, start_idx, start_file, transitive))

    def process_all_projects(self, transitive: bool = False) -> dict[str, list[FileRecord]]:
        """As `aprocess_all_projects`."""
        return in_a_loop(lambda: self.aprocess_all_projects(transitive))

    async def _processed(self, projects: Sequence[Mapping[str, Any]], options: ProcessOptions) -> Report:
        report = await process(projects, options, on_event=self._on_event)
        for result in report.failed:
            log.error("%s: %s", result.name, result.error)
        return report
