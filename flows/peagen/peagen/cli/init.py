"""`peagen init project | template-set | doe-spec | ci | repo | filter`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from peagen.cli.options import Reported, command, group

init = group()


@dataclass(kw_only=True)
class Scaffolding(Reported):
    """A folder that is filled."""

    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The folder.", show_default=False)] = Path()
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False


@dataclass(kw_only=True)
class Named(Scaffolding):
    """What has a name."""

    name: Annotated[str | None, typer.Option(metavar="NAME", help="Its name; by default the folder's.")] = None


@dataclass(kw_only=True)
class NewProject(Named):
    """What `init project` takes."""

    template_set: Annotated[str, typer.Option(metavar="SET", help="The template set.")] = "pythonpkg"
    provider: Annotated[str, typer.Option(metavar="NAME", help="Whose model.")] = "scripted"
    model_name: Annotated[str, typer.Option(metavar="NAME", help="Which model, of a real provider.")] = "gpt-4"


@dataclass(kw_only=True)
class NewSpec(Named):
    """What `init doe-spec` takes."""

    org: Annotated[str, typer.Option(metavar="ORG", help="Who owns it.")] = "org"


@dataclass(kw_only=True)
class NewWorkflow(Scaffolding):
    """What `init ci` takes."""

    github: Annotated[bool, typer.Option("--github", help="A workflow of GitHub; the default.")] = False
    gitlab: Annotated[bool, typer.Option("--gitlab", help="A job of GitLab.")] = False
    payload: Annotated[str, typer.Option(metavar="FILE", help="The payload that is checked.")] = "projects_payload.yaml"


@dataclass(kw_only=True)
class NewRepository(Reported):
    """What `init repo` takes."""

    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The folder.", show_default=False)] = Path()
    branch: Annotated[str, typer.Option(metavar="NAME", help="Its first branch.")] = "main"
    origin: Annotated[str | None, typer.Option(metavar="URL", help="The remote `origin`.")] = None
    upstream: Annotated[str | None, typer.Option(metavar="URL", help="The remote `upstream`.")] = None


@dataclass(kw_only=True)
class NewFilter(Reported):
    """What `init filter` takes."""

    uri: Annotated[str, typer.Option(metavar="URI", help="The storage: file://…, s3://….")] = "file://peagen_artifacts"
    name: Annotated[str, typer.Option(metavar="NAME", help="The filter's name.")] = "default"
    add_config: Annotated[bool, typer.Option("--add-config", help="Name it in .peagen.toml, too.")] = False
    path: Annotated[Path, typer.Option(metavar="PATH", help="The repository.", show_default=False)] = Path()


def _tell(options: Reported, what: str, result: dict[str, Any]) -> None:
    if options.as_json:
        options.console.json(result)
        return
    for name in result.get("files", ()):
        options.console.detail(f"wrote {name}")
    options.console.result(what)


@command(init, "project", NewProject, short_help="A payload and a configuration that process.")
def project(options: NewProject) -> None:
    """Write a payload, a configuration and a README. `peagen local process projects_payload.yaml` makes the project."""
    from peagen.handlers.init_handler import init_project

    result = init_project(
        options.path,
        name=options.name,
        template_set=options.template_set,
        provider=options.provider,
        model_name=options.model_name,
        force=options.force,
    )
    _tell(options, f"{options.path}: now run `peagen local process projects_payload.yaml` there", result)


@command(init, "template-set", Named, short_help="A template set that works, to be changed.")
def template_set(options: Named) -> None:
    """Write a template set that works, to be changed."""
    from peagen.handlers.init_handler import init_template_set

    result = init_template_set(options.path, name=options.name, force=options.force)
    _tell(options, f"{options.path}: README.md there tells how it is tried", result)


@command(init, "doe-spec", NewSpec, short_help="A design of experiments.")
def doe_spec(options: NewSpec) -> None:
    """Write a design of experiments: doe_spec.yml, its patches, a template project, and spec.yaml with its checksum."""
    from peagen.handlers.init_handler import init_doe_spec

    result = init_doe_spec(options.path, name=options.name, org=options.org, force=options.force)
    _tell(options, f"{options.path}: now run `peagen local doe gen doe_spec.yml template_project.yaml` there", result)


@command(init, "ci", NewWorkflow, short_help="A workflow that checks what is generated.")
def ci(options: NewWorkflow) -> None:
    """Write a workflow that fails where what is committed is not what would be generated."""
    from peagen.handlers.init_handler import init_ci

    chosen = tuple(name for name in ("github", "gitlab") if getattr(options, name)) or ("github",)
    result = init_ci(options.path, kinds=chosen, payload=options.payload, force=options.force)
    _tell(options, "\n".join(result["files"]), result)


@command(init, "repo", NewRepository, mark="❌  ", short_help="A git repository.")
def repo(options: NewRepository) -> None:
    """Make a git repository, with a first commit; one that is there only gets what it lacks."""
    from peagen.handlers.filter_handler import init_repo

    remotes = {name: url for name in ("origin", "upstream") if (url := getattr(options, name))}
    result = init_repo(options.path, branch=options.branch, remotes=remotes)
    _tell(options, f"{options.path}: {'a new repository' if result['created'] else 'it was one already'}", result)


@command(init, "filter", NewFilter, short_help="Keep large files in a storage.")
def filter_(options: NewFilter) -> None:
    """Tell git to keep what is below workspace/ in a storage; .gitattributes keeps what else it says."""
    from peagen.handlers.filter_handler import init_filter

    result = init_filter(options.path, uri=options.uri, name=options.name, add_config=options.add_config)
    _tell(options, f"filter {options.name}: {result['uri']}", result)
