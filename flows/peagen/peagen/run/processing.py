"""Processing a payload: plan, make what is out of date, keep what was learnt."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from peagen.run.engine import Run
from peagen.run.notify import told_to
from peagen.run.options import OnEvent, ProcessOptions, Report
from peagen.run.planning import ProjectRun

if TYPE_CHECKING:
    from pathlib import Path


async def process(
    projects: Sequence[Mapping[str, Any]], options: ProcessOptions, *, on_event: OnEvent | None = None
) -> Report:
    """Make the files of projects, as `load_projects_payload` gives them.

    What is up to date is not touched, and no model is asked for what was answered before. A file that cannot be made
    stops only what depends on it: the report tells, and its `exit_code`.

    Raises:
        PeagenError: the run could not begin. What goes wrong with single files is in the report.
    """
    async with told_to(options.publisher, options.channel, on_event) as tell, Run.begun(projects, options, tell) as run:
        run.begin()
        left = await first_open(run)
        if left is not None:
            await _in_a_flow(run, left)
        return run.finish()


async def check(
    projects: Sequence[Mapping[str, Any]], options: ProcessOptions, *, on_event: OnEvent | None = None
) -> Report:
    """See what `process` would do; `Report.drift` tells what is not as it is to be. Nothing is written or asked."""
    return await process(projects, replace(options, dry_run=True, vcs=None, storage=None), on_event=on_event)


async def first_open(run: Run, after: ProjectRun | None = None) -> ProjectRun | None:
    """The next project that has files to make; those before it are closed. None where there is none."""
    start = 0 if after is None else run.projects.index(after) + 1
    for project in run.projects[start:]:
        if run.look_over(project):
            return project
        await run.close(project)
    return None


async def _in_a_flow(run: Run, first: ProjectRun) -> None:
    from peagen.flow import Request, make_flow, registry
    from penguiflow import FlowError, Headers, Message

    flow = make_flow(planned=(run, first))
    options = run.options
    request = Request(
        worktree=str(options.worktree),
        project_name=options.project_name,
        workers=options.workers,
        provider=options.provider,
        model_name=options.model_name,
        dry_run=options.dry_run,
        force=options.force,
    )
    async with _recorded(options.record) as recording:
        flow.run(registry=registry, **recording)
        try:
            message = Message(payload=request, headers=Headers(tenant="peagen"))
            run.report.trace_id = message.trace_id
            await flow.call(message)
        except FlowError as error:
            raise error.unwrap() or error from error
        finally:
            await flow.stop()


@contextlib.asynccontextmanager
async def _recorded(path: Path | None) -> AsyncIterator[dict[str, Any]]:
    if path is None:
        yield {}
        return
    from penguiflow.state import SQLiteStateStore

    path.parent.mkdir(parents=True, exist_ok=True)
    store = SQLiteStateStore(path)
    try:
        yield {"state_store": store, "recorder": store.recorder(name="peagen")}
    finally:
        await store.close()
