"""Starting the dashboard on a terminal, or drawing it without one."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from playground.dashboard import collector
from playground.dashboard.app import DashboardApp
from playground.dashboard.layout import load_state, save_state
from playground.dashboard.watching.area import WatchingArea

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from playground.project import Project
    from playground.sources import Source

WAIT_S = 60.0
FRAMES_DRAWN = 6
"""After the last key, before the picture is taken."""
FAILED, USAGE, NOT_FOUND = 1, 2, 3
"""Exit codes, as all of `pf` has them."""


class Options(NamedTuple):
    """What `run_dashboard` was asked for."""

    project: Project
    theme: str | None
    screenshot: Path | None
    size: tuple[int, int]
    keys: tuple[str, ...]
    run: str | None
    sample: int
    title: str | None = None
    tour: bool = False


def start(source: Source | Callable[[], Source], options: Options) -> int:
    """Run the app; returns the exit code."""
    path = options.project.home / "ui.json"
    state = load_state(path)
    if options.theme is not None:
        state.theme = options.theme
    live = options.screenshot is None
    app = DashboardApp(
        source,
        project=options.title or options.project.root.name or "/",
        root=str(options.project.root),
        state=state,
        save=(lambda state: save_state(path, state)) if live else (lambda _: None),
        live=live,
    )
    watching = app.areas["watching"]
    assert isinstance(watching, WatchingArea)
    if options.tour:
        watching.offer = "start"
    elif live and not state.toured:
        watching.offer = "offer"
    if live:
        collector.tune()
        write_whole()
        app.run()
        collector.leave()
    else:
        shot = Screenshot(app, options)
        app.run(headless=True, size=options.size, auto_pilot=shot.take)
        if shot.failure:
            print(f"pf tui: {shot.failure}", file=sys.stderr)
            return shot.code
    return app.return_code or 0


def write_whole() -> None:
    """Let the screen be written through a buffer.

    With PYTHONUNBUFFERED the stream that Textual writes to is bare: when a signal (a resize, a child that ends) cuts a
    write short, the rest of it is lost, and the screen with it. A buffer writes on until all is out.
    """
    stream = sys.__stderr__
    if stream is not None and isinstance(stream.buffer, io.RawIOBase):
        whole = open(stream.fileno(), "w", encoding=stream.encoding, errors=stream.errors, closefd=False)  # noqa: SIM115
        vars(sys)["__stderr__"] = whole


class Screenshot:
    """Drives an app without a terminal until there is something to show, and writes it to a file."""

    def __init__(self, app: DashboardApp, options: Options) -> None:
        self._app = app
        self._options = options
        self.failure = ""
        self.code = FAILED

    async def take(self, pilot: Pilot[Any]) -> None:
        """Wait, run, press keys, write, exit."""
        app, options = self._app, self._options
        assert options.screenshot is not None
        await self._wait(self._listed, "flows")
        if options.run is not None and not self.failure:
            await self._run(options.run, options.sample)
        if self.failure:
            app.exit(self.code)
            return
        for key in options.keys:
            await pilot.press(key)
        await pilot.pause()
        await self._wait(self._settled, "the end of the run, or a stop,")
        drawn = app.frames.count + FRAMES_DRAWN
        await self._wait(lambda: app.frames.count >= drawn, "the picture")
        app.clear_notifications()
        await pilot.pause()
        try:
            options.screenshot.write_text(app.export_screenshot(title="pf tui"), encoding="utf-8")
        except OSError as error:
            self._fail(USAGE, f"--screenshot: {options.screenshot} cannot be written: {error.strerror}")
        app.exit(0)

    def _fail(self, code: int, failure: str) -> None:
        self.code, self.failure = code, failure

    def _listed(self) -> bool:
        modules = self._app.workspace.modules
        return self._app.workspace.listed and all(module.state != "loading" for module in modules)

    def _settled(self) -> bool:
        """What a key began is over, or has stopped."""
        app = self._app
        if any(worker.group == "run" and not worker.is_finished for worker in app.workers):
            return False
        wanted, current = app.control.wanted, app.workspace.current
        if wanted is not None and (current is None or current.trace_id != wanted):
            return False
        return all(line.stopped for line in app.workspace.runs.running())

    async def _run(self, target: str, sample: int) -> None:
        app = self._app
        flow = next(
            (flow for _, flow in app.flows.rows if flow is not None and target in {flow.target, flow.name}), None
        )
        if flow is None:
            broken = next((m for m, _ in app.flows.rows if m.error is not None and m.path == target), None)
            if broken is not None and broken.error is not None:
                self._fail(USAGE, f"{target}: {broken.error.message}")
            else:
                names = ", ".join(flow.name for _, flow in app.flows.rows if flow is not None)
                self._fail(NOT_FOUND, f"{target}: no such flow" + (f"; there is {names}" if names else ""))
            return
        if sample and not 0 <= sample < len(flow.samples):
            self._fail(USAGE, f"--sample: {target} has no sample {sample}; it has {len(flow.samples)}, the first is 0")
            return
        app.flows.pick(flow.target)
        value = flow.samples[sample] if flow.samples else {}
        app.launcher.run(flow, value)
        await self._wait(
            lambda: app.workspace.current is not None and app.workspace.current.over, f"the run of {target}"
        )

    async def _wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not ready():
            if self._app.failure:
                self.failure = self._app.failure
                return
            if time.monotonic() > deadline:
                self.failure = f"{what} did not come within {WAIT_S:.0f} s"
                return
            await asyncio.sleep(0.02)
