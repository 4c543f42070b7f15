"""`peagen validate config | doe | doe-spec | ptree | projects_payload`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from peagen.cli.options import Reported, command, group

MARK = "❌  "
validate = group()


@dataclass(kw_only=True)
class Checking(Reported):
    """A file that is checked."""

    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file.", show_default=False)]


@dataclass(kw_only=True)
class CheckingConfig(Reported):
    """What `validate config` takes."""

    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The file; .peagen.toml by default.", show_default=False)
    ] = None


@dataclass(kw_only=True)
class CheckingSpec(Checking):
    """What `validate doe-spec` takes."""

    update_checksum: Annotated[
        bool, typer.Option("--update-checksum", help="Write the design's checksum to spec.yaml beside it.")
    ] = False


def _tell(options: Reported, path: Path, warnings: list[str]) -> None:
    if options.as_json:
        options.console.json({"file": str(path), "valid": True, "warnings": warnings})
        return
    for warning in warnings:
        options.console.warn(warning)
    options.console.result(f"✅  {path} is valid")


@command(validate, "config", CheckingConfig, mark=MARK, short_help="A .peagen.toml.")
def config(options: CheckingConfig) -> None:
    """Check a configuration; what nobody reads in it is told."""
    from peagen.config import load_config
    from peagen.config.load import FILE_NAME

    path = options.path or options.config or Path(FILE_NAME)
    found = load_config(path)
    _tell(options, found.path or path, found.warnings)


@command(validate, "doe-spec", CheckingSpec, mark=MARK, short_help="A design of experiments.")
def doe_spec(options: CheckingSpec) -> None:
    """Check a design of experiments, its patches, and its checksum in spec.yaml if there is one."""
    from peagen.validation.checks import check_doe_spec

    _tell(options, options.path, check_doe_spec(options.path, update_checksum=options.update_checksum))


command(validate, "doe", CheckingSpec, mark=MARK, short_help="The same as doe-spec.")(doe_spec)


@command(validate, "ptree", Checking, mark=MARK, short_help="A ptree, rendered or not.")
def ptree(options: Checking) -> None:
    """Check a ptree: rendered YAML with file records, or the ptree.yaml.j2 of a template set."""
    from peagen.validation.checks import check_ptree

    _tell(options, options.path, check_ptree(options.path))


@command(validate, "projects_payload", Checking, mark=MARK, short_help="A payload.")
def projects_payload(options: Checking) -> None:
    """Check a payload."""
    from peagen.validation.checks import check_payload

    _tell(options, options.path, check_payload(options.path))


command(validate, "projects-payload", Checking, mark=MARK, hidden=True)(projects_payload)
