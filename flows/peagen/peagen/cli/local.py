"""`peagen local process`, `local sort` and `check`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from peagen.cli.arguments import Generating, Processing, Sorting
from peagen.cli.options import Reported, command
from peagen.errors import PeagenError

if TYPE_CHECKING:
    from peagen.config import Config
    from peagen.run import ProcessOptions


def add_local(app: typer.Typer) -> None:
    """Adds `process` and `sort`."""
    command(app, "process", Processing, short_help="Render and generate the files of projects.")(process)
    command(app, "sort", Sorting, short_help="Show the order of the files without writing any.")(sort)


def add_check(app: typer.Typer) -> None:
    """Adds `check`."""
    command(app, "check", Generating, short_help="Fail if what is there is not what would be generated.")(check)


def payload_source(given: str, root: Path) -> str | Path:
    """A file here, a file of the work-tree, or the text itself."""
    if "\n" in given or ": " in given or given.lstrip().startswith(("{", "[")):
        return given
    here = Path(given).expanduser()
    if not here.exists() and not here.is_absolute() and (root / here).is_file():
        return root / here
    if not here.is_file():
        raise PeagenError(
            f"{given} is a folder" if given and here.is_dir() else f"there is no file {given!r}",
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
