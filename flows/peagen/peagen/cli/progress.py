"""What is seen of a run while it goes on: a line for each file with `-v`, each prompt with `-vv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peagen.cli.console import DEBUG, VERBOSE, Console


class Lines:
    """Told of a run's events; writes to stderr."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One event, as `peagen.run.options.OnEvent` describes them."""
        kind = event.get("type")
        if kind == "file.done" and self.console.level >= VERBOSE:
            self.console.detail(
                f"[{event.get('done')}/{event.get('files')}] {event.get('status')}: {event.get('file')}"
            )
        elif kind == "file.retry":
            why = f", because {event['error']}" if event.get("error") else f": attempt {event.get('attempt')} failed"
            self.console.detail(f"{event.get('file')}: asked again{why}")
        elif kind == "file.asked" and self.console.level >= DEBUG:
            self.console.detail(f"prompt for {event.get('file')}, to {event.get('model')}:\n{event.get('prompt')}")
