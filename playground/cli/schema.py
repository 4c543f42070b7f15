"""`pf schema`: the JSON Schemas of what can be read by programs."""

from __future__ import annotations

from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.schemas import schemas

__all__ = ["show_schema"]


def show_schema(name: str | None) -> int:
    """Print one schema, or the names of all; returns the exit code."""
    console = Console()
    found = {file.removesuffix(".json"): text for file, text in schemas().items()}
    if name is None:
        for each in sorted(found):
            console.line(each)
        return ExitCode.DONE
    text = found.get(name)
    if text is None:
        raise Failure(f"no schema {name!r}", hint=f"there are {', '.join(sorted(found))}")
    console.write(text)
    return ExitCode.DONE
