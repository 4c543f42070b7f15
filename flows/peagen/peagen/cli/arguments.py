"""What the commands that work on a payload take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from peagen.cli.options import InRepository

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
