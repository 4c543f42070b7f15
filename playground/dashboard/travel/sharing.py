"""Runs as files: exported, imported, and written as tests. What takes a process of its own is done by `pf`."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from playground.dashboard.details import field, text
from playground.dashboard.text import many_lines, one_line, size

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceStore
    from playground.dashboard.app import DashboardApp

LONG_S = 20.0
"""How long what was written stays on the screen."""
ENDING_S = 2.0


class Told(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


async def run_pf(root: str, *arguments: str) -> Told:
    """Run `pf` in the project; it ends with whoever waits for it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "playground",
        *arguments,
        cwd=root or None,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDING_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
        raise
    return Told(process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


class Sharing:
    """Asks for a path, does it, and says what was written."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app

    @property
    def _root(self) -> Path:
        return Path(self._app.root or ".")

    def _local(self) -> bool:
        source = self._app.control.source
        if source is not None and source.local:
            return True
        self._app.say("these runs are not in a project here", "warning")
        return False

    async def _ask(self, prompt: str, value: str, answer: Callable[[str], object]) -> None:
        from playground.dashboard.travel.asking import ask_line

        await ask_line(self._app, prompt, answer, back=self._app.screen.focused or self._app.pane, value=value)

    def _path(self, given: str) -> Path:
        return self._root / Path(given.strip()).expanduser()

    # -- export ---------------------------------------------------------------------------------------------------

    async def ask_export(self, trace_id: str, flow: str | None) -> None:
        """Where to?"""
        name = f"{_word(flow)}-{trace_id[:8]}.pftrace"
        await self._ask("write the run to this file", name, partial(self._export, trace_id))

    def _export(self, trace_id: str, given: str) -> None:
        if given.strip():
            self._app.control.start(partial(self._write, trace_id, self._path(given), False), "export")

    async def _write(self, trace_id: str, path: Path, overwrite: bool) -> None:
        from penguiflow.recording.tracefile import write_trace_file
        from playground.dashboard.travel.comparing import SourceStore

        app, source = self._app, self._app.control.source
        if source is None:
            return
        if not path.parent.is_dir():
            app.say(f"there is no folder {path.parent}", "error")
            return
        store = cast("TraceStore", SourceStore(source))
        try:
            written = await write_trace_file(store, trace_id, path, overwrite=overwrite)
        except FileExistsError:
            again = partial(self._over, trace_id, path)
            await self._ask(f"{path.name} exists: y writes over it", "", again)
            return
        app.say(
            f"{written.events:,} events, {size(written.bytes)}, secrets masked: {self._shown(path)}", stays_s=LONG_S
        )

    def _over(self, trace_id: str, path: Path, answer: str) -> None:
        if answer.strip().lower() in {"y", "yes"}:
            self._app.control.start(partial(self._write, trace_id, path, True), "export")

    def _shown(self, path: Path) -> str:
        with suppress(ValueError):
            return str(path.relative_to(self._root))
        return str(path)

    # -- import ---------------------------------------------------------------------------------------------------

    async def ask_import(self) -> None:
        """From where?"""
        if self._local():
            await self._ask("take in the run of this file", "", self._import)

    def _import(self, given: str) -> None:
        if given.strip():
            self._app.control.start(partial(self._take_in, self._path(given)), "import")

    async def _take_in(self, path: Path) -> None:
        app = self._app
        told = await run_pf(app.root, "import", str(path), "--json")
        found = _output(told)
        if found is None:
            self._failed("IMPORT", path.name, told)
            return
        trace_id = str(found["trace_id"])
        app.control.refresh_runs()
        app.run_rows.follow_newest = False
        app.control.select(trace_id)
        news = f"{found['events']:,} events" if found.get("new") else "is here already"
        app.say(f"{trace_id[:8]}: {news}")

    # -- test -----------------------------------------------------------------------------------------------------

    async def ask_test(self, trace_id: str, flow: str | None) -> None:
        """Where to?"""
        if self._local():
            name = f"tests/test_{_word(flow)}_{_word(trace_id[:8])}.py"
            await self._ask("write a test that replays the run to this file", name, partial(self._test, trace_id))

    def _test(self, trace_id: str, given: str) -> None:
        if given.strip():
            self._app.control.start(partial(self._make, trace_id, self._path(given)), "test")

    async def _make(self, trace_id: str, path: Path) -> None:
        app = self._app
        if not path.parent.exists() and path.parent.parent == self._root:
            try:
                path.parent.mkdir()
            except OSError as error:
                app.say(f"{self._shown(path.parent)} cannot be made: {error.strerror or error}", "error")
                return
        app.say("replaying it twice, to know that the test can be relied upon …")
        told = await run_pf(app.root, "test", trace_id, "-o", self._shown(path), "--json")
        found = _output(told)
        if found is None:
            self._failed("TEST", f"{trace_id[:8]} · {path.name}", told)
            return
        app.say(f"written: {found['test']} · run it with: pytest {found['test']}", stays_s=LONG_S)

    def _failed(self, name: str, about: str, told: Told) -> None:
        from playground.dashboard.travel.document_screen import DocumentScreen

        lines = told.err.strip().splitlines() or [f"it ended with code {told.code}"]
        nodes = [field("failed", one_line(lines[0]), "error")]
        if len(lines) > 1:
            nodes.append(text("more", many_lines("\n".join(lines[1:]))))
        self._app.push_screen(DocumentScreen(name, [(one_line(about), "accent")], nodes, self._app.palette))


def _word(name: str | None) -> str:
    return re.sub(r"\W+", "_", name or "").strip("_").lower() or "run"


def _output(told: Told) -> dict[str, Any] | None:
    """What a command printed, if it did what it should."""
    if told.code:
        return None
    try:
        found = json.loads(told.out)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
