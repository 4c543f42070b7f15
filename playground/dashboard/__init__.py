"""The dashboard: flows, runs, trees, events and streams on one screen.

Importing this package costs nothing; `run_dashboard` brings in Textual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playground.project import Project
    from playground.sources import Source

__all__ = ["run_dashboard"]


def run_dashboard(
    source: Source | Callable[[], Source],
    *,
    project: Project,
    title: str | None = None,
    theme: str | None = None,
    screenshot: Path | None = None,
    size: tuple[int, int] = (120, 40),
    keys: Sequence[str] = (),
    run: str | None = None,
    sample: int = 0,
    tour: bool = False,
) -> int:
    """Show the dashboard until it is closed; returns the exit code.

    Args:
        source: Where flows, runs and events come from. A callable is called after the first paint, so that what it
            imports does not delay it.
        project: Names the title; its home keeps the remembered layout.
        title: Stands in the project's place, for a host elsewhere.
        theme: Name of a Textual theme; otherwise the remembered one.
        screenshot: Write an SVG to this file instead of using the terminal: when the flows are listed, and when the
            run of `run` (if any) is over.
        size: Columns and rows of the screenshot.
        keys: Keys to press before the screenshot, by Textual's names.
        run: Target to run before the screenshot.
        sample: Which of its sample inputs to run it with.
        tour: Begin with the tour.
    """
    from playground.dashboard.start import Options, start

    options = Options(project, theme, screenshot, size, tuple(keys), run, sample, title, tour)
    return start(source, options)
