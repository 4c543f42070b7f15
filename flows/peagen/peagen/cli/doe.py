"""`peagen local doe gen | process`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from peagen.cli.arguments import Processing
from peagen.cli.local import config_of, settings_of
from peagen.cli.options import Reported, command, group
from peagen.errors import PeagenError

doe = group()

_SPEC = typer.Argument(metavar="DOE_SPEC_YML", help="The design.", show_default=False)
_TEMPLATE = typer.Argument(metavar="TEMPLATE_PROJECT", help="The payload that it varies.", show_default=False)
_OUTPUT = typer.Option("--output", "-o", metavar="FILE", help="What bundles are called after; they get numbers.")


@dataclass(kw_only=True)
class Expanding(Reported):
    """What `doe gen` takes."""

    spec: Annotated[Path, _SPEC]
    template: Annotated[Path, _TEMPLATE]
    output: Annotated[Path, _OUTPUT] = Path("project_payloads.yaml")
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, tell the names.")] = False
    force: Annotated[bool, typer.Option("--force", help="Replace bundles that are there.")] = False
    skip_validate: Annotated[bool, typer.Option("--skip-validate", help="Do not check the bundles.")] = False
    notify: Annotated[str | None, typer.Option(metavar="URI", help="Publish an event when it is done.")] = None


@dataclass(kw_only=True)
class Experimenting(Processing):
    """What `doe process` takes: all that `process` takes; the projects are those of the design."""

    projects: Annotated[str, typer.Argument(metavar="DOE_SPEC_YML", help="The design.", show_default=False)]
    template: Annotated[Path, _TEMPLATE]
    output: Annotated[Path, _OUTPUT] = Path("project_payloads.yaml")


@command(doe, "gen", Expanding, short_help="Write a payload for each point of a design.")
def gen(options: Expanding) -> None:
    """Write a payload for each point of a design: all of them, or none."""
    from peagen.doe import DoeOptions, generate_payload

    how = DoeOptions(
        output=options.output, dry_run=options.dry_run, force=options.force, skip_validate=options.skip_validate
    )
    result = asyncio.run(generate_payload(options.spec, options.template, how))
    for warning in result.pop("warnings"):
        options.console.warn(f"{options.spec}: {warning}")
    if options.notify is not None and not options.dry_run:
        from peagen.plugins.manager import PluginManager
        from peagen.plugins.publishers.notify import open_notify

        notify = open_notify(options.notify, PluginManager(config_of(options, Path.cwd())))
        event = {"type": "peagen.experiment.done", "output": str(options.output), "count": result["count"]}
        try:
            notify.publisher.publish(notify.channel, event)
        finally:
            notify.publisher.close()
    if options.as_json:
        options.console.json(result)
    else:
        would = "would write " if options.dry_run else ""
        options.console.result(f"✅ {would}{', '.join([*result['outputs'], *result['artifact_outputs']])}")


@command(doe, "process", Experimenting, short_help="Expand a design, and process each of its points.")
def process(options: Experimenting) -> int:
    """Expand a design and process every point, each in a folder of its own: `<output base>/<design id>`."""
    from peagen.core.payload import load_projects_payload
    from peagen.doe.generate import DoeOptions, agent_env_of, expand, generate_payload
    from peagen.doe.spec import load_spec
    from peagen.handlers.repository import open_repository
    from peagen.run import process as run

    console = options.console
    spec_path = Path(options.projects)
    told: dict[str, Any] = {}
    failed = 0
    with open_repository(options.repo, options.ref) as checkout:
        if checkout.branch is not None:
            raise PeagenError("doe process works in a local work-tree", where="--repo", hint="leave --ref out")
        config = config_of(options, checkout.root)
        if not options.dry_run:
            how = DoeOptions(output=options.output, force=options.force, again=True)
            asyncio.run(generate_payload(spec_path, options.template, how))
        for bundle in asyncio.run(expand(load_spec(spec_path), options.template, options.output)):
            projects = load_projects_payload(bundle.document)
            base = (options.output_base or Path("experiments")) / bundle.design_id
            settings = settings_of(
                options, config, checkout.root, output_base=base, model=agent_env_of(projects[0].get("META"))
            )
            report = asyncio.run(run(projects, settings))
            told[bundle.design_id] = report.to_json()
            failed += report.exit_code
            counts = ", ".join(f"{count} {status}" for status, count in report.counts.items())
            console.note(f"{bundle.design_id}: {counts} in {base}")
            for each in report.failed:
                console.error(f"{base / each.name}: {each.error}")
    console.json({"experiments": told})
    return int(bool(failed))
