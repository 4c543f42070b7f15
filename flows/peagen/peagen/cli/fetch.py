"""`peagen fetch`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from peagen.cli.options import InRepository, command
from peagen.cli.sets import Asking


@dataclass(kw_only=True)
class Fetching(Asking, InRepository):
    """What `fetch` takes."""

    workspaces: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKSPACE_URI]...", help="Folders, git+URL@ref, gh://owner/repo@ref, s3://….", show_default=False
        ),
    ] = None
    source: Annotated[
        bool, typer.Option("--with-source/--no-source", help="Fetch the configuration's source packages, too.")
    ] = True
    install_template_sets: Annotated[
        bool,
        typer.Option(
            "--install-template-sets/--no-install-template-sets", help="Add the configuration's template sets."
        ),
    ] = True
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to.", show_default=False)] = (
        Path()
    )
    force: Annotated[bool, typer.Option("--force", help="Replace files that differ.")] = False


def add_fetch(app: typer.Typer) -> None:
    """Adds `fetch`."""
    command(app, "fetch", Fetching, short_help="Bring workspaces and template sets here.")(fetch)


def fetch(options: Fetching) -> None:
    """Bring workspaces into this folder, and what .peagen.toml names: source packages and template sets."""
    from peagen.cli.local import config_of
    from peagen.handlers.fetch_handler import FetchOptions
    from peagen.handlers.fetch_handler import fetch as run

    uris = list(options.workspaces or ())
    if options.repo is not None:
        prefix = "" if options.repo.startswith(("git+", "gh://")) else "git+"
        uris.insert(0, f"{prefix}{options.repo}" + (f"@{options.ref}" if options.ref else ""))
    elif options.ref is not None:
        raise typer.BadParameter("it needs --repo", param_hint="--ref")
    chosen = FetchOptions(
        folder=options.output,
        with_source=options.source,
        install_template_sets=options.install_template_sets,
        force=options.force,
        may_run_code=options.asks(),
    )
    before = _own_config(options.output)
    first = run(uris, chosen)
    # What was fetched may bring the configuration that names the rest; it does not get to see the environment.
    foreign = _own_config(options.output) != before
    config = config_of(options, options.output.resolve(), foreign=foreign)
    if not uris and not config.source_packages and not config.template_sets:
        raise typer.BadParameter(
            "name what to fetch, or [[source_packages]] in .peagen.toml", param_hint="WORKSPACE_URI"
        )
    rest = run((), FetchOptions(**{**vars(chosen), "config": config}))
    options.console.json({**rest, **first})


def _own_config(folder: Path) -> bytes | None:
    from peagen.config.load import FILE_NAME

    path = folder / FILE_NAME
    return path.read_bytes() if path.is_file() else None
