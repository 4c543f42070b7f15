"""How a command's help and usage name its arguments: as the guide does, without the types that the code gives them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

__all__ = ["PlainCommand"]


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


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")
