"""How a command's help and usage name its arguments: as the guide does, without the types that the code gives them."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from playground.project import STORE_VARIABLE

__all__ = ["PlainCommand", "stored"]

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

    @functools.wraps(function)
    def command(*arguments: Any, store: str | None, **options: Any) -> T:
        if store is not None:
            os.environ[STORE_VARIABLE] = store
        return function(*arguments, **options)

    given = inspect.signature(function, eval_str=True)
    store = inspect.Parameter("store", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_STORE)
    command.__signature__ = given.replace(parameters=[*given.parameters.values(), store])  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in given.parameters.items()} | {"store": _STORE}
    return command


_STORE = Annotated[
    str | None,
    typer.Option(metavar="URL", help=f"Where the traces are: postgresql://…; also {STORE_VARIABLE}."),
]


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")
