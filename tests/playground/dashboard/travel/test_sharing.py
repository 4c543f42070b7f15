"""Runs as files: exported, imported and saved as tests, with the real command; and trace files opened directly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from penguiflow import Context, Node, create
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.traces import TraceQuery
from playground.dashboard.app import DashboardApp
from playground.dashboard.layout import UiState
from playground.dashboard.travel.document_screen import DocumentScreen
from playground.dashboard.travel.sharing import Told, run_pf
from playground.protocol import Run
from playground.sources import RunRefused
from playground.trace_files import FileSource

OpenDesk = Callable[..., Any]
LIMIT_S = 60.0


async def recorded(folder: Path) -> Path:
    """A trace file of a small run."""
    from penguiflow.recording.tracefile import write_trace_file

    async def shout(text: str, ctx: Context) -> str:
        return text.upper()

    store = SQLiteStateStore(folder / "state.db")
    flow = create(Node(shout, name="shout").to())
    flow.run(recorder=store.recorder(name="shouts", data={"flow": "shouts", "target": "flows/shouts.py"}))
    await flow.call("hello")
    await flow.stop()
    await store.flush()
    [trace] = await store.find_traces(TraceQuery())
    file = folder / "run.pftrace"
    await write_trace_file(store, trace.trace_id, file)
    await store.close()
    return file


async def shown(desk: Any, source: Any, run: Any) -> None:
    source.add_past(run, events=len(run.events))
    await desk.until(lambda: len(desk.app.run_rows) == 1, "the run")
    await desk.press("2", "enter")
    await desk.until(lambda: desk.app.workspace.current and not desk.app.workspace.current.loading, "its events")


def is_there(path: str) -> bool:
    return Path(path).exists()


def told(desk: Any) -> list[str]:
    return [notification.message for notification in desk.app._notifications]


async def answer(desk: Any, text: str) -> None:
    """Type over what the line proposes."""
    await desk.until(lambda: desk.app.screen.query("AskLine Input"), "the question")
    line = desk.app.screen.query_one("AskLine Input", Input)
    line.value = text
    await desk.press("enter")


async def test_a_run_is_written_to_a_file(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any], tmp_path: Path
) -> None:
    run = triage()
    async with open_desk() as desk:
        desk.app.root = str(tmp_path)
        await shown(desk, source, run)
        await desk.press("E")
        await desk.until(lambda: "triage-9e9a20c1.pftrace" in desk.text(), "the proposal")
        assert "write the run to this file" in desk.text()
        await desk.press("enter")
        file = tmp_path / "triage-9e9a20c1.pftrace"
        await desk.until(lambda: any("secrets masked" in note for note in told(desk)), "the file")
        size = file.stat().st_size
        await desk.press("E")
        await answer(desk, "triage-9e9a20c1.pftrace")
        await desk.until(lambda: "y writes over it" in desk.text(), "the question")
        await answer(desk, "y")
        await desk.until(lambda: len(told(desk)) > 1, "the second")
        assert file.stat().st_size == size
        await desk.press("E")
        await answer(desk, "nowhere/at/all.pftrace")
        await desk.until(lambda: any("there is no folder" in note for note in told(desk)), "why not")
        await desk.press("E", "escape")
        assert not desk.app.screen.query("AskLine")


async def test_a_run_is_taken_in(open_desk: OpenDesk, source: Any, triage: Callable[..., Any], tmp_path: Path) -> None:
    file = await recorded(tmp_path)
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "0"\n')
    async with open_desk() as desk:
        desk.app.root = str(project)
        await desk.press("I")
        await answer(desk, str(file))
        await desk.until(lambda: any(" events" in note for note in told(desk)), "the news")
        await desk.press("I")
        await answer(desk, "missing.pftrace")
        await desk.until(lambda: isinstance(desk.app.screen, DocumentScreen), "the failure")
        assert "there is no file" in desk.text()
        await desk.press("escape")
        source.local = False
        await desk.press("I")
        assert "not in a project here" in desk.text()
    store = SQLiteStateStore(project / ".penguiflow" / "state.db", read_only=True)
    assert [trace.flow for trace in await store.find_traces()] == ["shouts"]
    await store.close()


async def test_a_test_is_asked_for_with_the_path_that_was_given(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    async def command(root: str, *arguments: str) -> Told:
        asked.append(arguments)
        if len(asked) > 1:
            return Told(4, "", "error: node 'a' does not send the same twice\nhint: take them from ctx.now()")
        return Told(0, '{"test": "tests/test_triage.py"}', "")

    monkeypatch.setattr("playground.dashboard.travel.sharing.run_pf", command)
    async with open_desk() as desk:
        desk.app.root = str(tmp_path)
        await shown(desk, source, triage())
        await desk.press("T")
        await desk.until(lambda: "tests/test_triage_9e9a20c1.py" in desk.text(), "the proposal")
        await answer(desk, "tests/test_triage.py")
        await desk.until(lambda: any("pytest tests/test_triage.py" in note for note in told(desk)), "the test")
        assert asked == [("test", triage().trace_id, "-o", "tests/test_triage.py", "--json")]
        assert (tmp_path / "tests").is_dir()
        await desk.press("T", "enter")
        await desk.until(lambda: isinstance(desk.app.screen, DocumentScreen), "why not")
        assert "does not send the same twice" in desk.text()
        assert "ctx.now()" in desk.text()


async def test_a_command_ends_with_who_waits_for_it(tmp_path: Path) -> None:
    waiting = asyncio.create_task(run_pf(str(tmp_path), "version"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    told = await run_pf(str(tmp_path), "version")
    assert told.code == 0
    assert told.out.startswith("penguiflow ")


async def test_a_trace_file_is_opened_to_look_at(tmp_path: Path, settling: object) -> None:
    file = await recorded(tmp_path)
    broken = tmp_path / "broken.pftrace"
    broken.write_bytes(b"\x1f\x8bnothing")
    source = FileSource([broken, file])
    app = DashboardApp(source, project="run.pftrace", state=UiState())
    async with app.run_test(size=(120, 40)) as pilot:
        async with asyncio.timeout(LIMIT_S):
            while app.workspace.current is None or not app.workspace.current.over:
                await pilot.pause(0.02)
            while not app._notifications:
                await pilot.pause(0.02)
        assert app.workspace.current.flow == "shouts"
        assert any("broken.pftrace" in note.message for note in app._notifications)
        await pilot.press("r", "f")
        with pytest.raises(RunRefused):
            await source.run(Run(target="x"))
        await pilot.press("comma", "home", "right")
        assert app.areas["travel"].walk.timeline.position == 1  # type: ignore[attr-defined]
    assert source._folder is not None
    assert not is_there(source._folder.name)


async def test_reading_a_file_is_told_and_ends_with_the_dashboard(
    tmp_path: Path, settling: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await recorded(tmp_path)
    monkeypatch.setattr("penguiflow.state.importing.CHUNK_EVENTS", 2)
    source, calls, again = FileSource([file]), list[int](), threading.Event()
    make = source._progress

    def held(path: Path, loop: asyncio.AbstractEventLoop) -> Callable[[int, int], None]:
        progress = make(path, loop)

        def until_left(events: int, total: int) -> None:
            calls.append(events)
            if len(calls) == 2:
                again.set()
            progress(events, total)
            # In the thread that reads: it does not go on before somebody leaves.
            assert source._leaving.wait(LIMIT_S)

        return until_left

    monkeypatch.setattr(source, "_progress", held)
    app = DashboardApp(source, project="run.pftrace", state=UiState())
    async with app.run_test(size=(120, 40)) as pilot:
        async with asyncio.timeout(LIMIT_S):
            while "run.pftrace: " not in app.spans.empty:
                await pilot.pause(0.02)
        assert " % of " in app.spans.empty
        assert app.workspace.host is not None
        assert app.workspace.host.state == "reading"
    # It was asked once more, and left off there.
    assert await asyncio.to_thread(again.wait, LIMIT_S)
    assert calls == [2, 4]
    assert source._folder is not None
    assert not is_there(source._folder.name)
