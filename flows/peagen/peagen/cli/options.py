"""Commands take one object each: its fields are their arguments and options, and those of its bases."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import typer

from peagen.cli.console import DEBUG, QUIET, Console

T = TypeVar("T", bound="Common")


@dataclass(kw_only=True)
class Common:
    """What every command and every group of them takes, wherever it stands in the line."""

    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv says everything.")] = 0
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")] = False
    debug: Annotated[bool, typer.Option("--debug", "-d", help="As -vv, with a traceback of defects.")] = False
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="PATH", help="A .peagen.toml, or its folder.")
    ] = None

    def under(self, outer: Common) -> None:
        """Adds what was said before the command's name."""
        self.verbose += outer.verbose
        self.quiet = self.quiet or outer.quiet
        self.debug = self.debug or outer.debug
        self.config = self.config or outer.config

    @property
    def level(self) -> int:
        """How much is said."""
        if self.quiet:
            return QUIET
        return DEBUG if self.debug else min(self.verbose, DEBUG)

    @property
    def console(self) -> Console:
        """Where it is said."""
        return Console(self.level)


@dataclass(kw_only=True)
class Reported(Common):
    """A command whose result can be read by a program."""

    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


@dataclass(kw_only=True)
class InRepository(Reported):
    """A command that works in a repository."""

    repo: Annotated[
        str | None, typer.Option(metavar="PATH_OR_URL", help="The work-tree or repository; this folder by default.")
    ] = None
    ref: Annotated[str | None, typer.Option(metavar="REF", help="A branch, tag or commit of it.")] = None


@dataclass(frozen=True)
class Invocation:
    """What a command line asks for; it runs after the parser is done, whose handling of errors is not ours."""

    run: Callable[[], int | None]
    mark: str
    options: Common


@dataclass(kw_only=True)
class Root(Common):
    """What `peagen` itself takes."""

    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False


def group(name: str | None = None, *, takes: type[Common] = Common, **about: Any) -> typer.Typer:
    """A group of commands. Without a command it prints its help."""
    app = typer.Typer(
        name=name,
        rich_markup_mode=None,
        add_completion=False,
        no_args_is_help=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **about,
    )

    def callback(context: typer.Context, **given: Any) -> None:
        shared = takes(**given)
        if isinstance(shared, Root) and shared.version:
            from importlib.metadata import version

            typer.echo(f"peagen {version('penguiflow-peagen')}")
            raise typer.Exit(0)
        if context.obj is not None:
            shared.under(context.obj)
        context.obj = shared
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())
            raise typer.Exit(0)

    _sign(callback, takes)
    app.callback(invoke_without_command=True)(callback)
    return app


def command(
    app: typer.Typer, name: str, kind: type[T], *, mark: str = "[ERROR] ", **about: Any
) -> Callable[[Callable[[T], int | None]], Callable[[T], int | None]]:
    """Adds a command to a group: the function gets an object of `kind`, and returns the exit code (None is 0).

    Args:
        mark: what its errors begin with.
    """

    def decorate(function: Callable[[T], int | None]) -> Callable[[T], int | None]:
        def invoke(context: typer.Context, **given: Any) -> Invocation:
            options = kind(**given)
            if context.obj is not None:
                options.under(cast("Common", context.obj))
            return Invocation(partial(function, options), mark, options)

        _sign(invoke, kind)
        invoke.__doc__ = function.__doc__
        app.command(name, **about)(invoke)
        return function

    return decorate


def _sign(function: Any, kind: type[Common]) -> None:
    """Gives the function the fields of the class as its parameters, for the parser to read."""
    hints = get_type_hints(kind, include_extras=True)
    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for field in dataclasses.fields(kind):
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name])
        )
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = {each.name: each.annotation for each in parameters}
