"""`peagen local process`, `local sort` and `check`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peagen.cli.options import InRepository, Reported, command
from peagen.errors import PeagenError

if TYPE_CHECKING:
    from peagen.config import Config
    from peagen.run import ProcessOptions

_PAYLOAD = typer.Argument(metavar="PROJECTS_YAML", help="The payload: a file, or its text.", show_default=False)


@dataclass(kw_only=True)
class Selecting(InRepository):
    """Which files of which projects."""

    projects: Annotated[str, _PAYLOAD]
    project_name: Annotated[str | None, typer.Option(metavar="NAME", help="Only this project.")] = None
    start_idx: Annotated[int, typer.Option(metavar="NUM", help="Leave out so many of the first.")] = 0
    start_file: Annotated[str | None, typer.Option(metavar="PATH", help="Begin at this file.")] = None
    transitive: Annotated[
        bool, typer.Option("--transitive/--no-transitive", help="With --start-file: it, and all that it needs.")
    ] = False
    template_base: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder with template sets. Repeatable.")
    ] = None


@dataclass(kw_only=True)
class Sorting(Selecting):
    """What `sort` takes."""

    show_dependencies: Annotated[
        bool, typer.Option("--show-dependencies", help="Say for each file what it depends on.")
    ] = False


@dataclass(kw_only=True)
class Generating(Selecting):
    """What decides the content of files."""

    agent_env: Annotated[
        str | None, typer.Option(metavar="JSON", help='The model: \'{"provider": "openai", "model_name": "gpt-4"}\'.')
    ] = None
    provider: Annotated[str | None, typer.Option(metavar="NAME", help="Whose model; `scripted` needs no key.")] = None
    model_name: Annotated[str | None, typer.Option(metavar="NAME", help="Which model.")] = None
    agent_prompt_template_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prompt template in place of the sets' own.")
    ] = None
    output_base: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write below this folder of the work-tree.")
    ] = None
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=1024, help="Files at once; 0: one after the other.")
    ] = None


@dataclass(kw_only=True)
class Processing(Generating):
    """What `process` takes."""

    notify: Annotated[
        str | None, typer.Option(metavar="URI", help="Publish events: redis://…, rabbitmq://…, https://….")
    ] = None
    artifacts: Annotated[
        str | None, typer.Option(metavar="URI", help="Copy what is generated: file://…, s3://…, minio://….")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Overwrite what was changed by hand.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, ask no model, tell what would be.")] = False
    diff: Annotated[bool, typer.Option("--diff", help="Show changes as unified diffs.")] = False
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Take answers that were given before, or ask again.")
    ] = True
    max_cost: Annotated[float | None, typer.Option(metavar="USD", min=0, help="Stop before it costs more.")] = None
    max_tokens: Annotated[int | None, typer.Option(metavar="N", min=0, help="Stop before it takes more.")] = None
    commit: Annotated[bool, typer.Option("--commit/--no-commit", help="Commit what was written.")] = False
    push: Annotated[bool, typer.Option("--push/--no-push", help="Push after the commit.")] = False
    record: Annotated[
        Path | None, typer.Option(metavar="DATABASE", help="Record the run, for pf traces and pf tui.")
    ] = None


def add_local(app: typer.Typer) -> None:
    """Adds `process` and `sort`."""
    command(app, "process", Processing, short_help="Render and generate the files of projects.")(process)
    command(app, "sort", Sorting, short_help="Show the order of the files without writing any.")(sort)


def add_check(app: typer.Typer) -> None:
    """Adds `check`."""
    command(app, "check", Generating, short_help="Fail if what is there is not what would be generated.")(check)


def payload_source(given: str, root: Path) -> str | Path:
    """A file here, a file of the work-tree, or the text itself."""
    if "\n" in given or ": " in given:
        return given
    here = Path(given).expanduser()
    if not here.exists() and not here.is_absolute() and (root / here).is_file():
        return root / here
    if not here.is_file():
        raise PeagenError(
            f"there is no file {given}" if not here.is_dir() else f"{given} is a folder",
            hint="name the payload, such as projects_payload.yaml",
        )
    return here


def agent_env_of(given: str | None) -> dict[str, Any]:
    """`--agent-env`, read."""
    if given is None:
        return {}
    try:
        value = json.loads(given)
    except ValueError as error:
        raise typer.BadParameter(f"it is not JSON: {error}", param_hint="--agent-env") from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"it must be an object, not {given}", param_hint="--agent-env")
    return value


def agent_env_of_point(projects: list[dict[str, Any]]) -> dict[str, Any]:
    """What a payload that is a point of an experiment says of the model."""
    metas = [project["META"] for project in projects if project.get("META")]
    if not metas:
        return {}
    from peagen.doe.generate import agent_env_of

    return agent_env_of(metas[0])


def config_of(options: Reported, root: Path, *, foreign: bool = False) -> Config:
    """The configuration; what nobody reads in it is told.

    Args:
        foreign: the work-tree came from a URL. Its own configuration does not see the environment, and does not
            say where a model is: else whoever wrote it would get the key.
    """
    from peagen.config import load_config

    if not foreign or options.config is not None:
        config = load_config(options.config, root)
    else:
        config = load_config(None, root, environ={})
        for server in config.llm.forget_servers():
            options.console.warn(f"{server} of the repository's own .peagen.toml is not used; say it with --config")
    for warning in config.warnings:
        options.console.warn(warning)
    return config


def sort(options: Sorting) -> int:
    """Show the order in which files would be made, and what they depend on. Nothing is written."""
    from peagen.handlers.repository import open_repository
    from peagen.handlers.sort_handler import sort_projects

    console = options.console
    with open_repository(options.repo, options.ref) as checkout:
        config = config_of(options, checkout.root, foreign=checkout.push)
        found = asyncio.run(
            sort_projects(
                payload_source(options.projects, checkout.root),
                worktree=checkout.root,
                project_name=options.project_name,
                start_idx=options.start_idx,
                start_file=options.start_file,
                transitive=options.transitive,
                template_base=tuple(options.template_base or ()),
                template_set=config.workspace.template_set,
            )
        )
    if options.as_json:
        console.json({"projects": [each.to_json() for each in found]})
    else:
        for each in (each for each in found if each.error is None):
            indent = "" if options.project_name is not None else "  "
            if options.project_name is None:
                console.result(f"Project {each.name}:")
            for line in each.lines(options.show_dependencies):
                console.result(f"{indent}{line}")
    for each in found:
        if each.error is not None:
            console.error(f"{each.name}: {each.error.report()}")
    return int(any(each.error is not None for each in found))


def process(options: Processing) -> int:
    """Render and generate the files of one or more projects in a work-tree."""
    # What is wrong with the command line is told before anything is cloned.
    agent_env_of(options.agent_env)
    from peagen.cli.progress import Progress
    from peagen.cli.report import summarize
    from peagen.core.payload import load_projects_payload
    from peagen.handlers.git import masked
    from peagen.handlers.repository import keep, open_repository, push
    from peagen.run import process as run

    console = options.console
    with open_repository(options.repo, options.ref) as checkout:
        config = config_of(options, checkout.root, foreign=checkout.push)
        source = payload_source(options.projects, checkout.root)
        projects = load_projects_payload(source)
        settings = settings_of(
            options,
            config,
            checkout.root,
            in_branch=checkout.branch is not None,
            model=agent_env_of_point(projects),
        )
        with Progress(console) as progress, _closing(settings.publisher):
            report = asyncio.run(run(projects, settings, on_event=progress))
        commit = None
        if not options.dry_run:
            commit = keep(checkout, "peagen local process")
        if commit is not None:
            report.commit = commit
            console.note(f"committed {commit[:12]} to {checkout.branch} of {checkout.repository}")
            try:
                push(checkout)
            except PeagenError as error:
                console.warn(f"{masked(error.message)}; the branch is in {checkout.repository}")
    summarize(console, report, options)
    return report.exit_code


@contextlib.contextmanager
def _closing(publisher: Any | None) -> Iterator[None]:
    """Give the connections of a publisher back; one of somebody else's may have none."""
    try:
        yield
    finally:
        close = getattr(publisher, "close", None)
        if callable(close):
            close()


def check(options: Generating) -> int:
    """Fail if what is in the work-tree is not what would be generated. No model is asked, nothing is written."""
    agent_env_of(options.agent_env)
    from peagen.core.payload import load_projects_payload
    from peagen.handlers.repository import open_repository
    from peagen.run import check as run

    console = options.console
    with open_repository(options.repo, options.ref) as checkout:
        config = config_of(options, checkout.root, foreign=checkout.push)
        projects = load_projects_payload(payload_source(options.projects, checkout.root))
        settings = settings_of(options, config, checkout.root, model=agent_env_of_point(projects))
        report = asyncio.run(run(projects, settings))
    drift = report.drift
    if options.as_json:
        console.json({"drift": [{"file": name, "why": why} for name, why in drift], **report.to_json()})
    else:
        for name, why in drift:
            console.result(f"{name}: {why}")
    console.note("everything is as it would be generated" if not drift else f"{len(drift)} of the files drifted")
    return int(bool(drift))


def settings_of(
    options: Generating,
    config: Config,
    root: Path,
    *,
    in_branch: bool = False,
    output_base: Path | None = None,
    model: dict[str, Any] | None = None,
) -> ProcessOptions:
    """How a run goes, as the command line says it.

    Args:
        in_branch: what is made is committed afterwards anyway.
        output_base: instead of the option of that name.
        model: what the payload says of the model; `--agent-env` goes first.
    """
    from peagen.run import ProcessOptions

    base = output_base or options.output_base
    worktree = root / base if base is not None else root
    more: dict[str, Any] = {}
    if isinstance(options, Processing):
        more = {name: getattr(options, name) for name in ("force", "dry_run", "diff", "max_cost", "max_tokens")}
        more |= {"use_cache": options.cache, "record": options.record}
        if not options.dry_run:
            worktree.mkdir(parents=True, exist_ok=True)
            more |= _plugins(options, config, None if in_branch else worktree)
    return ProcessOptions(
        worktree=worktree,
        workers=config.worker_count if options.workers is None else options.workers,
        start_idx=options.start_idx,
        start_file=options.start_file,
        transitive=options.transitive,
        project_name=options.project_name,
        agent_env={**(model or {}), **agent_env_of(options.agent_env)},
        provider=options.provider,
        model_name=options.model_name,
        agent_prompt_template_file=options.agent_prompt_template_file,
        template_base=(*(options.template_base or ()), *([root] if worktree != root else [])),
        template_set=config.workspace.template_set,
        config=config,
        **more,
    )


def _plugins(options: Processing, config: Config, committed: Path | None) -> dict[str, Any]:
    from peagen.plugins.manager import PluginManager

    made: dict[str, Any] = {}
    manager = PluginManager(config)
    if options.notify is not None:
        from peagen.plugins.publishers.notify import open_notify

        notify = open_notify(options.notify, manager)
        made |= {"publisher": notify.publisher, "channel": notify.channel}
    if options.artifacts is not None:
        from peagen.plugins.git_filters.artifacts import open_artifacts

        made["storage"] = open_artifacts(options.artifacts, manager)
    if committed is not None and (options.commit or options.push):
        made |= {"vcs": manager.get("vcs", config.vcs.default, root=committed), "push": options.push}
    return made
