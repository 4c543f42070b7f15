"""A run of Peagen as a flow: `plan` finds the files, `work` makes them, `report` tells.

The files of a project are nodes themselves, of a flow that `work` runs: an edge for each dependency, every prompt,
answer and retry with the file that it is for.

Try it: `pf run peagen.flow:flow --input '{"example": "pythonpkg"}'`
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from peagen.errors import PeagenError
from peagen.run.engine import Run
from peagen.run.flow import DRAWN, Turns, files_flow
from peagen.run.options import ProcessOptions
from peagen.run.planning import ProjectRun
from peagen.run.processing import first_open
from penguiflow import Context, ModelRegistry, Node, NodePolicy, PenguiFlow, create

EXAMPLE = "example.payload.yaml"
AHEAD = 4
"""Files whose prompts are rendered while as many as there are workers are asked for."""


class Request(BaseModel):
    """What to make, and how."""

    projects_payload: str = Field(default="", description="A path, or YAML; empty: the example of a template set.")
    example: str = Field(default="pythonpkg", description="Whose example is made, where no payload is given.")
    worktree: str = Field(default="", description="The folder to generate into; empty: a new one.")
    project_name: str | None = Field(default=None, description="Only this project of the payload.")
    workers: int = Field(default=4, ge=0, description="Files that are worked on at once.")
    provider: str | None = Field(default="scripted", description="Whose model; `scripted` needs no key.")
    model_name: str | None = None
    dry_run: bool = False
    force: bool = Field(default=False, description="Overwrite what a person changed.")


class Planned(BaseModel):
    """What there is to do."""

    request: Request
    """With the folder that is generated into."""
    projects: list[str]
    files: int
    open: int
    """Files that are not up to date, in the first project that has any."""


class Made(BaseModel):
    """One file."""

    project: str
    file: str
    status: str
    error: str = ""


class Worked(BaseModel):
    """All of them."""

    worktree: str
    files: list[Made]
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None


class Summary(BaseModel):
    """What a run did."""

    worktree: str
    counts: dict[str, int]
    problems: list[Made]
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    """In US dollars; None when it is not known."""


def make_flow(planned: tuple[Run, ProjectRun] | None = None) -> PenguiFlow:
    """A flow from `Request` to `Summary`; run it with `registry`.

    `planned`: a run that is open already, whoever calls the flow closes it, and its first project with work to do.
    """

    @contextlib.asynccontextmanager
    async def opened(request: Request) -> AsyncIterator[tuple[Run, ProjectRun | None]]:
        # Nothing is held from one node to the next: a message may be lost on its way, or be a restored one.
        if planned is not None:
            yield planned
            return
        async with _begun(request) as run:
            yield run, await first_open(run)

    async def plan(request: Request, ctx: Context) -> Planned:
        """Read the payload, render the ptrees, put the files in order, see which are up to date."""
        if not request.worktree:
            request = request.model_copy(
                update={"worktree": await asyncio.to_thread(tempfile.mkdtemp, prefix="peagen-")}
            )
        async with opened(request) as (run, first):
            return Planned(
                request=request,
                projects=[each.name for each in run.projects],
                files=sum(len(each.order) for each in run.projects),
                open=0 if first is None else len(first.open),
            )

    async def work(plan: Planned, ctx: Context) -> Worked:
        """Make the files, each when what it depends on is there."""
        async with opened(plan.request) as (run, first):
            project = first
            while project is not None:
                await _make(run, project, ctx)
                await run.close(project)
                project = await first_open(run, after=project)
            report = run.finish() if planned is None else run.count()
        results = [
            Made(project=each.project, file=each.name, status=each.status, error=each.error) for each in report.results
        ]
        return Worked(
            worktree=plan.request.worktree,
            files=results,
            calls=report.calls,
            input_tokens=report.input_tokens,
            output_tokens=report.output_tokens,
            cost=report.cost,
        )

    async def report(worked: Worked, ctx: Context) -> Summary:
        """Tell what became of the files."""
        counts: dict[str, int] = {}
        for each in worked.files:
            counts[each.status] = counts.get(each.status, 0) + 1
        problems = [each for each in worked.files if each.status in {"failed", "skipped", "conflict"}]
        about = worked.model_dump(exclude={"files"})
        return Summary(counts=counts, problems=problems, **about)

    several = NodePolicy(max_concurrency=16)
    plan_node, work_node = Node(plan, name="plan", policy=several), Node(work, name="work", policy=several)
    report_node = Node(report, name="report", policy=several)
    return create(plan_node.to(work_node), work_node.to(report_node), report_node.to())


@contextlib.asynccontextmanager
async def _begun(request: Request) -> AsyncIterator[Run]:
    """A run of its own. Raises `PeagenError`."""
    from peagen.core.payload import load_projects_payload

    source: Any = request.projects_payload
    if not source:
        source = Path(str(files("peagen.template_sets") / request.example / EXAMPLE))
        if not source.is_file():
            raise PeagenError(f"the template set {request.example!r} has no example")
    options = ProcessOptions(
        worktree=Path(request.worktree),
        workers=request.workers,
        project_name=request.project_name,
        provider=request.provider,
        model_name=request.model_name,
        dry_run=request.dry_run,
        force=request.force,
    )
    async with Run.begun(load_projects_payload(source), options) as run:
        yield run


async def _make(run: Run, project: ProjectRun, ctx: Context) -> None:
    """Make what is open of a project: in a flow with a node for each file, unless there are too many to look at."""
    turns = Turns(
        project.scheduler(),
        run.options.workers,
        lambda name, context, known: run.make(project, name, context, known),
        lambda name, because: run.lose(project, name, because),
        ahead=AHEAD,
    )
    if len(project.open) > DRAWN:
        await turns.work_all(ctx)
        return

    def project_files() -> tuple[PenguiFlow, None]:
        turns.begin()
        return files_flow(turns, project.graph.parents, project.graph.children), None

    project_files.__name__ = project.name
    await ctx.call_playbook(project_files, ctx.message)


registry = ModelRegistry()
registry.register("plan", Request, Planned)
registry.register("work", Planned, Worked)
registry.register("report", Worked, Summary)

flow = make_flow()

__flow__ = {
    "title": "Peagen",
    "samples": [
        {"example": "pythonpkg", "workers": 4},
        {"example": "fastapi_service", "workers": 4},
        {"example": "swarmauri_base", "workers": 2},
    ],
}
