"""Processing as functions: a configuration with a work-tree in, records and a commit out."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from peagen.core.payload import load_projects_payload
from peagen.core.records import FileRecord
from peagen.errors import ConfigError
from peagen.run import ProcessOptions, Report, process

T = TypeVar("T")
Single = tuple[list[FileRecord], int, str | None, list[str]]
"""The records of files that are there, the index to go on from, the commit, and git's hashes of what was written."""


def process_single_project(
    project: Mapping[str, Any],
    cfg: Mapping[str, Any],
    start_idx: int = 0,
    start_file: str | None = None,
    transitive: bool = False,
) -> Single:
    """Render, sort and make the files of one project.

    Args:
        project: one of those that `load_projects_payload` gives.
        cfg: `worktree`, a `Path`, has to be there. `agent_env`, `vcs` (then what is written is committed), `logger`,
            `workers` and `config` may be.
        start_idx: see `sort_file_records`, as for the other two.

    Returns:
        The records of the files that are there, the index to go on from, the commit (None without `vcs`, and where
        nothing changed), and git's hashes of what was written. What could not be made is logged, and left out.

    Raises:
        PeagenError: the run could not begin.
    """
    return in_a_loop(lambda: aprocess_single_project(project, cfg, start_idx, start_file, transitive))


async def aprocess_single_project(
    project: Mapping[str, Any],
    cfg: Mapping[str, Any],
    start_idx: int = 0,
    start_file: str | None = None,
    transitive: bool = False,
) -> Single:
    """As `process_single_project`, to be awaited."""
    options = _options(cfg, start_idx=start_idx, start_file=start_file, transitive=transitive)
    report = await process([project], options)
    _log(report, cfg)
    name = str(project.get("NAME"))
    return report.processed[name], report.next_idx[name], report.commit, report.oids


def process_all_projects(
    projects_payload: Any, cfg: Mapping[str, Any], transitive: bool = False
) -> dict[str, list[FileRecord]]:
    """Make the files of every project of a payload, each from its first file. Returns their records, by project.

    Takes any form of payload that `load_projects_payload` does, and `cfg` as `process_single_project`.
    """
    return in_a_loop(lambda: aprocess_all_projects(projects_payload, cfg, transitive))


async def aprocess_all_projects(
    projects_payload: Any, cfg: Mapping[str, Any], transitive: bool = False
) -> dict[str, list[FileRecord]]:
    """As `process_all_projects`, to be awaited."""
    report = await process(load_projects_payload(projects_payload), _options(cfg, transitive=transitive))
    _log(report, cfg)
    return report.processed


def _options(cfg: Mapping[str, Any], **more: Any) -> ProcessOptions:
    if not cfg.get("worktree"):
        raise ConfigError(
            "the configuration names no work-tree", hint="Give the folder to generate into: cfg['worktree'] = Path(…)"
        )
    given = {name: cfg[name] for name in ("agent_env", "vcs", "workers", "config") if cfg.get(name) is not None}
    return ProcessOptions(worktree=Path(cfg["worktree"]), **given, **more)


def _log(report: Report, cfg: Mapping[str, Any]) -> None:
    log = cfg.get("logger") or logging.getLogger("peagen")
    for result in report.failed:
        log.error("%s: %s", result.name, result.error)
    for warning in report.warnings:
        log.warning("%s", warning)


def in_a_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, whether or not the thread has a loop that runs: then it gets another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    outcome: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(make()))
        except BaseException as error:  # raised again where it is waited for
            failures.append(error)

    thread = threading.Thread(target=run, name="peagen")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return outcome[0]
