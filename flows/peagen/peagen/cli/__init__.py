"""The `peagen` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `peagen` with these arguments (`sys.argv` by default); returns the exit code."""
    try:
        from peagen.cli.boundary import guard

        given = list(sys.argv[1:] if arguments is None else arguments)
        return guard(given)
    except KeyboardInterrupt:  # before or after the command itself
        return 130


def main() -> None:
    """The entry point."""
    sys.exit(run())
