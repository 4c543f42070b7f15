"""`peagen local template-set list | show | add | remove`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from peagen.cli.options import InRepository, Reported, command, group
from peagen.errors import PeagenError

MARK = "❌  "
sets = group()


@dataclass(kw_only=True)
class Showing(InRepository):
    """What `show` takes."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="The set.", show_default=False)]


@dataclass(kw_only=True)
class Asking(Reported):
    """What asks before it does something."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False

    def asks(self) -> Callable[[str], bool]:
        """Asks on a terminal; elsewhere nobody says yes."""

        def ask(question: str) -> bool:
            if self.yes:
                return True
            if not sys.stdin.isatty():
                return False
            return typer.confirm(f"{question} Go on?", err=True)

        return ask


@dataclass(kw_only=True)
class Adding(Asking):
    """What `add` takes."""

    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SRC]", help="A folder, an archive, a wheel, or a distribution's name.", show_default=False
        ),
    ] = None
    from_bundle: Annotated[Path | None, typer.Option(metavar="FILE", help="An archive with sets.")] = None
    editable: Annotated[bool, typer.Option("--editable", "-e", help="Link the folder instead of copying it.")] = False
    force: Annotated[bool, typer.Option("--force", help="Replace a set of the same name.")] = False


@dataclass(kw_only=True)
class Removing(Asking):
    """What `remove` takes."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="The set.", show_default=False)]


@command(sets, "list", InRepository, mark=MARK, short_help="All sets, and where they are.")
def list_(options: InRepository) -> int:
    """List the template sets: bundled ones, installed ones, added ones, and folders of the work-tree."""
    from peagen.handlers.repository import open_repository
    from peagen.handlers.sets_handler import list_sets

    with open_repository(options.repo, options.ref) as checkout:
        found = list_sets(checkout.root)
    console = options.console
    if options.as_json:
        told = [{"name": each.name, "location": str(each.folder), "source": each.source} for each in found]
        console.json({"template_sets": told, "total": len(found)})
        return int(not found)
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        console.result(f"{each.name:<{width}}  {each.folder}")
    console.result(f"Total: {len(found)} set(s)")
    return int(not found)


@command(sets, "show", Showing, mark=MARK, short_help="One set, with its files.")
def show(options: Showing) -> None:
    """Show where a set is, its files, and the sets of the same name that it hides."""
    from peagen.handlers.repository import open_repository
    from peagen.handlers.sets_handler import show_set

    with open_repository(options.repo, options.ref) as checkout:
        found = show_set(options.name, checkout.root)
    console = options.console
    if options.as_json:
        console.json(found)
        return
    console.result(f"Template-set: {found['name']} ({found['source']})")
    console.result(f"Location: {found['location']}")
    console.result(f"Digest: {found['digest']}")
    if "added" in found:
        console.result(f"Added from: {found['added'].get('source')}")
    console.result("Files:")
    for name in found["files"]:
        console.result(f"  {name}")
    if found["other_locations"]:
        console.result("Other locations:")
        for location in found["other_locations"]:
            console.result(f"  {location}")


@command(sets, "add", Adding, mark=MARK, short_help="Add the sets of a folder, an archive or a distribution.")
def add(options: Adding) -> None:
    """Add template sets. Their files are copied; none of their code runs, unless it has to be built and you say yes."""
    from peagen.handlers.sets_handler import Source, add_set

    if (options.source is None) == (options.from_bundle is None):
        raise typer.BadParameter("name a SRC, or --from-bundle FILE", param_hint="SRC")
    name = options.source or str(options.from_bundle)
    source = Source(
        name=name,
        bundle=options.from_bundle,
        editable=options.editable,
        force=options.force,
        may_run_code=options.asks(),
    )
    noted = add_set(source)
    if options.as_json:
        options.console.json({"added": noted})
        return
    for each in noted:
        options.console.result(each["name"])
        options.console.note(f"{each['name']}: {each['digest']}")


@command(sets, "remove", Removing, mark=MARK, short_help="Remove a set that was added.")
def remove(options: Removing) -> None:
    """Remove a template set that was added, or uninstall the distribution that brings it."""
    from peagen.handlers.sets_handler import remove_set

    if not options.yes and not sys.stdin.isatty():
        raise PeagenError("nothing was removed: nobody is there to ask", hint="--yes removes without asking")
    removed = remove_set(options.name, Path.cwd(), may_run=options.asks())
    if options.as_json:
        options.console.json(removed)
    else:
        options.console.result(f"removed {removed['name']}: {removed['removed']}")
