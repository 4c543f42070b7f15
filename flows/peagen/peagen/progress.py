"""A bar on a terminal: how many files are done, which are worked on, what it took."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN = 3
"""Names of files that are worked on."""


class Bar:
    """Told of a run's events (see `peagen.run.options.OnEvent`); draws on a terminal, and on nothing else.

    It is there from the first file that is worked on: where nothing is to be done, nothing is drawn. What else is
    printed meanwhile goes through `print`, above the bar.
    """

    def __init__(self, stream: TextIO | None = None, *, force: bool = False) -> None:
        """`force` draws wherever `stream` (stderr by default) leads to."""
        self._stream = sys.stderr if stream is None else stream
        self._wanted = force or self._stream.isatty()
        self._force = force
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._working: dict[str, None] = {}
        self._tokens = 0
        self._cost = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One event."""
        if not self._wanted:
            return
        match event["type"]:
            case "process.started":
                self._total = int(event["files"])
                self._done = 0
            case "file.started":
                self._working[event["file"]] = None
                self._draw()
            case "file.done":
                self._done += 1
                self._working.pop(event["file"], None)
                self._tokens += event.get("tokens") or 0
                self._cost += event.get("cost") or 0.0
                if self._progress is not None:
                    self._draw()

    def print(self, text: str) -> None:
        """A line above the bar; the bar is drawn again under it."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def _draw(self) -> None:
        if self._progress is None:
            self._progress = self._begun()
            self._task = self._progress.add_task("", total=self._total, took="")
        assert self._task is not None
        shown = [name.rsplit("/", 1)[-1] for name in list(self._working)[:SHOWN]]
        more = len(self._working) - len(shown)
        names = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        took = f"{self._tokens} tokens" + (f", ${self._cost:.4f}" if self._cost else "") if self._tokens else ""
        self._progress.update(self._task, completed=self._done, description=names, took=took)

    def _begun(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(file=self._stream, force_terminal=True if self._force else None)
        progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[took]}", markup=False),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        progress.start()
        return progress
