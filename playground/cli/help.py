"""How a command's help and usage name its arguments: as the guide does, without the types that the code gives them."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from playground.project import BUS_VARIABLE, SCHEME, STORE_VARIABLE

__all__ = ["PlainCommand", "bused", "stored"]

T = TypeVar("T")


class PlainCommand(TyperCommand):
    """A command whose arguments are called by their metavar, which says `[FILE]` where one may be left out."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind `Usage: pf run`."""
        return ["[OPTIONS]", *(str(each.metavar) for each in self.get_params(ctx) if _is_argument(each))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections about arguments and options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and _is_argument(parameter):
                sections["Arguments"].append((str(parameter.metavar), record[1]))
            elif record is not None:
                sections["Options"].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def stored(function: Callable[..., T]) -> Callable[..., T]:
    """A command that reads or writes traces: `--store` says where, to the processes that it starts as well."""
    return _with_address(function, "store", STORE_VARIABLE, _STORE, _from_here)


def bused(function: Callable[..., T]) -> Callable[..., T]:
    """A command that has to do with distributed flows: `--bus` says where their edges are, likewise."""
    return _with_address(function, "bus", BUS_VARIABLE, _BUS)


def _from_here(store: str) -> str:
    """A store that is a file, as an absolute path: the project may begin further up."""
    return store if SCHEME.match(store) else str(Path(store).absolute())


def _with_address(
    function: Callable[..., T],
    name: str,
    variable: str,
    annotation: Any,
    read: Callable[[str], str] = str,
) -> Callable[..., T]:
    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> T:
        address = options.pop(name)
        if address is not None:
            os.environ[variable] = read(address)
        return function(*arguments, **options)

    given = inspect.signature(function, eval_str=True)
    option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    command.__signature__ = given.replace(parameters=[*given.parameters.values(), option])  # type: ignore[attr-defined]
    command.__annotations__ = {key: each.annotation for key, each in given.parameters.items()} | {name: annotation}
    return command


_STORE = Annotated[
    str | None,
    typer.Option(metavar="URL", help=f"Where the traces are: postgresql://… or an SQLite file; also {STORE_VARIABLE}."),
]
_BUS = Annotated[
    str | None,
    typer.Option(metavar="URL", help=f"Where the edges are: redis://…, nats://…; also {BUS_VARIABLE}."),
]


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")
