"""What is seen of a run: a bar on a terminal; with `-v` a line for each file, with `-vv` each prompt."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from peagen.cli.console import DEBUG, QUIET, VERBOSE, Console, printable
from peagen.progress import Bar


class Progress:
    """Told of a run's events; writes to stderr."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Bar()

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One event, as `peagen.run.options.OnEvent` describes them."""
        kind, level = event.get("type"), self.console.level
        if level > QUIET:
            shown = printable(str(event.get("file", "")), self.console.encoding)
            self._bar({**event, "file": shown} if "file" in event else event)
        if kind == "file.done" and level >= VERBOSE:
            self._line(f"[{event.get('done')}/{event.get('files')}] {event.get('status')}: {event.get('file')}")
        elif kind == "file.retry" and level >= VERBOSE:
            self._line(f"{event.get('file')}: asked again, because {event.get('error')}")
        elif kind == "file.asked" and level >= DEBUG:
            self._line(f"prompt for {event.get('file')}, to {event.get('model')}:\n{event.get('prompt')}")

    def _line(self, text: str) -> None:
        self._bar.print(printable(text, self.console.encoding))
