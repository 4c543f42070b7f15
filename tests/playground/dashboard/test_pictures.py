"""Pictures of the panes, and of what lies above them, with what they show of a run; of when there is nothing to show;
and of when something is wrong."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from playground.protocol import LogLine
from playground.sources import HostState, Notice, RunRefused

OpenDesk = Callable[..., Any]
Opened = Callable[..., AbstractAsyncContextManager[Any]]
STATUSES = ["error", "timeout", "interrupted", "cancelled", "ok"]
LOGS = [
    ("stdout", "cache: 212 articles", None),
    ("log", "no answer from the knowledge base at http://kb.example/find, trying again", "WARNING"),
    ("log", "answered ticket 4711 in 815 ms", "INFO"),
    ("stderr", "DeprecationWarning: find() takes a query", None),
    ("stdout", "a long line: " + "penguins eat krill, fish and squid; " * 4, None),
    ("log", "the archive is gone", "ERROR"),
]


@pytest.fixture
def triaged(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> Opened:
    """A desk with past runs of each status, and a finished one with a retry; the cursor is on its failed attempt."""
    for number, status in enumerate(STATUSES, 1):
        script = triage(f"{0x31081600 + number * 0x11D3B7:08x}" * 4, ts=1_780_000_000.0 - 30_000 * number)
        script.events[-1] = script.events[-1].replace(b'"status":"ok"', b'"status":"%s"' % status.encode())
        source.add_past(script, status)
    source.answer = lambda run: triage("9e9a20c1" * 4).events

    @asynccontextmanager
    async def opened(size: tuple[int, int] = (80, 24)) -> AsyncIterator[Any]:
        async with open_desk(size=size) as desk:
            await desk.until(lambda: len(desk.app.run_rows) == len(STATUSES), "the runs")
            await desk.press("j", "r")
            await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
            await desk.press("3", "g", "j", "j", "j")
            yield desk

    return opened


async def front(desk: Any, pane: str, label: str) -> None:
    """A view and its pane come to the front, at the first row."""
    view = next(view for view in desk.app.panes[pane].views if view.label == label)
    desk.app.panes[pane].show_view(view)
    desk.app.action_focus_pane(pane)
    await desk.press("g")
    desk.app.clear_notifications()


# -- panes ------------------------------------------------------------------------------------------------------------


async def test_tree_detail_and_stream(triaged: Opened, album: Any) -> None:
    async with triaged() as desk:
        await album.take(desk, "tree")
        await desk.press("4", "G")
        await album.take(desk, "detail")
        await desk.press("3", "slash", *"att", "enter")
        await album.take(desk, "searched")


async def test_runs(triaged: Opened, album: Any) -> None:
    async with triaged() as desk:
        newest = desk.app.workspace.current.trace_id
        await desk.press("2", "j")
        await desk.until(lambda: desk.app.workspace.current.trace_id != newest, "the run before")
        await desk.until(lambda: not desk.app.workspace.current.loading, "all of it")
        await desk.press("d", "k")
        await desk.until(lambda: desk.app.workspace.current.trace_id == newest, "the newest run")
        desk.app.clear_notifications()
        await album.take(desk, "runs")
        await desk.press("slash", *"!status:ok")
        await desk.until(lambda: len(desk.app.run_rows) == 4, "the filter")
        await album.take(desk, "filter")


async def test_events(triaged: Opened, album: Any) -> None:
    async with triaged() as desk:
        await front(desk, "inspect", "Events")
        await desk.press("j", "j")
        await album.take(desk, "events")
        await desk.press("slash", *"kind:node.retry", "enter")
        await desk.until(lambda: len(desk.app.event_rows) == 1, "the filter")
        await album.take(desk, "filtered")
        await desk.press("enter")
        await desk.until(lambda: "sleep_s" in desk.text(), "the event")
        await album.take(desk, "event")
        await desk.press("J")
        await desk.until(lambda: '"sleep_s"' in desk.text(), "the text")
        await album.take(desk, "raw")


async def test_output(triaged: Opened, album: Any, source: Any) -> None:
    async with triaged() as desk:
        await front(desk, "output", "Stream")
        await desk.press("m")
        await album.take(desk, "raw-stream")
        await front(desk, "output", "Logs")
        await album.take(desk, "no-logs")
        source.inbox.logs.extend(
            LogLine.model_validate({"ts": 1_790_000_000.0 + number, "source": kind, "text": text, "level": level})
            for number, (kind, text, level) in enumerate(LOGS)
        )
        await desk.until(lambda: "the archive is gone" in desk.text(), "the logs")
        await album.take(desk, "logs")


async def test_one_pane_of_the_whole_screen(triaged: Opened, album: Any) -> None:
    async with triaged() as desk:
        await desk.press("z")
        await album.take(desk, "zoomed")


async def test_letters_on_tabs(triaged: Opened, album: Any) -> None:
    async with triaged() as desk:
        await desk.press("ctrl+o")
        await album.take(desk, "jump")


async def test_a_run_that_goes_on(triaged: Opened, album: Any, source: Any, triage: Callable[..., Any]) -> None:
    async with triaged() as desk:
        source.answer = lambda run: triage("4b1d0c5e" * 4, until="retry").events
        await desk.press("1", "r")
        await desk.until(lambda: "1 running" in desk.text(), "the run")
        await desk.press("3", "G")
        desk.app.clear_notifications()
        await album.take(desk, "running")


# -- what lies above the panes ----------------------------------------------------------------------------------------


async def test_form(open_desk: OpenDesk, album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "enter")
        await desk.until(lambda: "number of the ticket" in desk.text(), "the form")
        await album.take(desk, "form")
        await desk.press("ctrl+o", "ctrl+u", "0", "ctrl+r")
        await desk.until(lambda: "must be at least 1" in desk.text(), "the message")
        await album.take(desk, "wrong")
        desk.app.screen.refuse(
            "", [{"path": "/customer/name", "message": "must be known"}, {"path": "", "message": "no"}]
        )
        await desk.until(lambda: "must be known" in desk.text(), "the refusal")
        await album.take(desk, "refused")


async def test_palette(triaged: Opened, album: Any) -> None:
    async with triaged() as desk:
        await desk.press("colon")
        await desk.until(lambda: "run: triage" in desk.text(), "the palette")
        await desk.press("escape")

        async def again() -> None:
            if len(desk.app.screen_stack) > 1:
                await desk.press("escape")
            await desk.press("colon")
            await desk.press(*"tri")
            await desk.until(lambda: "debug: run triage" in desk.text(), "what fits")

        desk.app.theme = "textual-light"
        await album.take(desk, "palette", again)


async def test_copy_menu(triaged: Opened, album: Any) -> None:
    async with triaged() as desk:
        await desk.press("Y")
        await desk.until(lambda: "COPY" in desk.text(), "the menu")
        await album.take(desk, "copy")


VIEWS = {
    "flows": ["Flows"],
    "runs": ["Runs"],
    "trace": ["Tree", "Waterfall", "Graph"],
    "inspect": ["Detail", "Events", "LLM", "Stopped"],
    "output": ["Stream", "Logs", "Breakpoints", "Context"],
}


@pytest.mark.parametrize("pane", VIEWS)
async def test_help(open_desk: OpenDesk, pane: str, album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        assert [view.label for view in desk.app.panes[pane].views] == VIEWS[pane]
        for label in VIEWS[pane]:
            await front(desk, pane, label)
            await desk.press("question_mark")
            await desk.until(lambda: "esc closes" in desk.text(), "the help")
            await album.take(desk, f"help-{label}")
            await desk.press("escape")


async def test_tour(open_desk: OpenDesk, album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("ctrl+t")
        await desk.until(lambda: "TOUR 1/" in desk.text(), "the tour")
        await album.take(desk, "first")
        await desk.press("j")
        await desk.until(lambda: "TOUR 2/" in desk.text(), "the next step")
        await album.take(desk, "second")


# -- nothing to show, and trouble -------------------------------------------------------------------------------------


async def test_nothing_yet(open_desk: OpenDesk, album: Any, source: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await album.take(desk, "no-runs")
        for pane, labels in VIEWS.items():
            for label in labels[1:]:
                await front(desk, pane, label)
        await desk.press("1")
        await album.take(desk, "other-tabs")
        await front(desk, "inspect", "LLM")
        await front(desk, "output", "Breakpoints")
        await front(desk, "trace", "Waterfall")
        await album.take(desk, "more-tabs")


async def test_no_flows(open_desk: OpenDesk, album: Any, source: Any) -> None:
    source.modules = []
    async with open_desk(size=(80, 24)) as desk:
        await desk.until(lambda: "No flows here" in desk.text(), "the hint")
        await album.take(desk, "no-flows")


async def test_a_broken_module(open_desk: OpenDesk, album: Any, source: Any, modules: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "j", "enter")
        await album.take(desk, "broken")
        changed = modules()
        error = changed[2].error.model_copy(update={"file": "flows/triage.py"})
        changed[1] = changed[1].model_copy(update={"state": "stale", "error": error})
        await desk.press("1", "k")
        source.inbox.modules = changed
        await desk.until(lambda: "▲ triage:12" in desk.text(), "the mark")
        await album.take(desk, "stale")


HOSTS = {
    "stalled": HostState("stalled", "blocked 4.2 s at flows/slow.py:28 in fetch", 1, killable=True),
    "silent": HostState("silent", "host silent for 2 s", 1, killable=True),
    "dead": HostState("dead", "the host died with exit code 139, restarting", 1),
    "offline": HostState("offline", "the connection is lost, trying again in 4 s", 1),
}


async def test_trouble_with_the_host(triaged: Opened, album: Any, source: Any) -> None:
    async with triaged() as desk:
        for name, state in HOSTS.items():
            source.inbox.host = state
            await desk.until(lambda text=state.text: text in desk.text(), "the state")
            await album.take(desk, name)


async def test_notices(triaged: Opened, album: Any, source: Any) -> None:
    async with triaged() as desk:
        source.inbox.notices += [
            Notice("copied 1,204 characters"),
            Notice("⏸ 9e9a20c1 stopped before tool fetch · press . to go there", "warning"),
            Notice("ArchiveError: 503: the archive at http://archive.example/find?q=penguins is busy", "error"),
        ]
        await desk.until(lambda: "ArchiveError" in desk.text(), "the notices")
        await album.take(desk, "notices")


async def test_who_only_looks_on(triaged: Opened, album: Any, source: Any) -> None:
    source.can_run = source.can_decide = True
    async with triaged() as desk:
        source.can_run = source.can_decide = False
        source.refusal = RunRefused("this token only looks on")
        await desk.press("1")
        await album.take(desk, "looks-on")


async def test_a_recorded_run(open_desk: OpenDesk, album: Any, source: Any, triage: Callable[..., Any]) -> None:
    """A trace file, without a host."""
    source.add_past(triage("9e9a20c1" * 4))
    source.modules, source.can_run, source.local = [], False, False
    async with open_desk(size=(80, 24)) as desk:
        source.inbox.host = HostState("recorded", "", 0)
        await desk.until(lambda: len(desk.app.run_rows) == 1 and "recorded" in desk.text(), "the run")
        await desk.press("2", "g", "enter")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await album.take(desk, "recorded")


# -- where there is little room, and no color -------------------------------------------------------------------------


async def test_a_tiny_terminal(triaged: Opened, snapshot: SnapshotAssertion, album: Any) -> None:
    async with triaged((40, 10)) as desk:
        assert "\n" + desk.text() == snapshot


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
async def test_every_status_has_a_mark_without_colors(
    triaged: Opened, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    async with triaged((120, 40)) as desk:
        desk.app.theme = theme
        await desk.frame()
        text = desk.text()
        for mark in "✖◷↯⊘✔":
            assert f"{mark} " in text
        # The focused pane has heavy lines, the cursor's row a mark.
        assert "┏━ TRACE" in text
        assert "┃▎" in text
