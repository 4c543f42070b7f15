"""The `pf` command: picks the way that costs least, and turns whatever goes wrong into a message and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pf` with these arguments (`sys.argv` by default); returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _guarded(given)
    except KeyboardInterrupt:  # before or after the command itself
        return 130


def _guarded(given: list[str]) -> int:
    from playground.cli.boundary import guard

    if given[:1] == ["tui"] and not any(argument.startswith("-") for argument in given):
        # The dashboard's first paint is on a budget that has no room for a parser of options.
        return guard(lambda: _open_dashboard(given[1:]))
    return guard(lambda: _parse_and_run(given))


def _open_dashboard(paths: list[str]) -> int:
    from playground.cli.tui import TuiOptions, open_dashboard

    return open_dashboard(TuiOptions(paths=paths))


def _parse_and_run(arguments: list[str]) -> int:
    from playground.cli.app import invoke

    return invoke(arguments)


if __name__ == "__main__":
    # `python -m` puts the working directory first, where a user's `types.py` would shadow the standard library's.
    here, ours = Path.cwd(), Path(__file__).resolve().parents[1]
    if sys.path and Path(sys.path[0]).resolve() == here and here != ours:
        del sys.path[0]
    sys.exit(main())
