"""The commands and their groups."""

from __future__ import annotations

from peagen.cli.doe import doe
from peagen.cli.fetch import add_fetch
from peagen.cli.init import init
from peagen.cli.later import add_later
from peagen.cli.local import add_check, add_local
from peagen.cli.options import Root, group
from peagen.cli.sets import sets
from peagen.cli.validate import validate

app = group(takes=Root, help="Generate projects from templates and a graph of dependencies.")


local = group(help="Work here: process, sort, template-set, doe.")
add_local(local)
add_check(local)
local.add_typer(sets, name="template-set", help="List, show, add and remove template sets.")
local.add_typer(doe, name="doe", help="Designs of experiments.")
local.add_typer(init, name="init", hidden=True)
local.add_typer(validate, name="validate", hidden=True)

add_fetch(app)
app.add_typer(local, name="local")
add_check(app)
app.add_typer(init, name="init", help="Write something to begin with.")
app.add_typer(validate, name="validate", help="Check files.")
add_later(app, local)

__all__ = ["app"]
