from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events

from penguiflow.state.errors import StoreUnreadable
from playground.dashboard.layout import PANES, UiState
from playground.protocol import LogLine
from playground.sources import HostState, Notice, RunRefused

OpenDesk = Callable[..., Any]


async def test_flows_are_listed_and_described(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j")
        text = desk.text()
        assert "✖ broken:12" in text
        assert "Route a support ticket" in text
        assert "v3f9c1" in text
        assert "● ready" in text


async def test_a_run_is_followed_and_its_failed_attempt_inspected(open_desk: OpenDesk) -> None:
    async with open_desk(size=(200, 60)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        assert desk.source.requests[0].input == {"id": 4711, "text": "sync is slow"}
        await desk.until(lambda: "Ticket 4711" in desk.text(), "the text")
        await desk.press("3", "g", "j", "j", "j", "enter")
        text = desk.text()
        assert "attempt 1" in text
        assert "ConnectionError: knowledge base did not answer" in text
        assert 'File "flows/triage.py", line 34, in find' in text
        assert desk.app.pane.id == "inspect"
        await desk.press("G")
        await desk.until(lambda: 'priority: "high"' in desk.text(), "the text")


async def test_a_running_node_is_seen_before_it_ends(open_desk: OpenDesk, triage: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        whole = triage("ab" * 16)
        desk.source.answer = lambda run: whole.events[:11]
        await desk.press("j", "r")
        await desk.until(lambda: "attempt 1" in desk.text(), "the failed attempt")
        await desk.until(lambda: "● technical" in desk.text(), "the text")
        await desk.until(lambda: "1 running" in desk.text(), "the text")
        desk.source.inbox.events.extend(whole.events[11:])
        await desk.until(lambda: "✔ technical" in desk.text(), "the end of the node")
        await desk.until(lambda: "0 running" in desk.text(), "the end of the run")


async def test_what_waits_grows_older_in_the_inspector(open_desk: OpenDesk, triage: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        desk.source.answer = lambda run: triage("ab" * 16).events[:11]
        await desk.press("j", "r")
        await desk.until(lambda: "attempt 1" in desk.text(), "the run")
        await desk.press("3", "g")
        await desk.until(lambda: "● running ·" in desk.text(), "its details")
        revision = desk.app.workspace.current.revision
        shown = {line for line in desk.text().splitlines() if "● running ·" in line}
        await desk.until(lambda: not any(line in shown for line in desk.text().splitlines()), "a later time")
        assert desk.app.workspace.current.revision == revision


async def test_events_are_filtered_and_opened(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await desk.press("4", "right_square_bracket", "slash", *"kind:node.retry", "enter")
        await desk.until(lambda: len(desk.app.event_rows) == 1, "the filter")
        await desk.until(lambda: "node.retry" in desk.text(), "the text")
        await desk.press("enter")
        await desk.until(lambda: "sleep_s" in desk.text(), "the text")
        await desk.press("escape")
        assert desk.app.panes["inspect"].view is desk.app.event_rows
        await desk.press("escape")
        await desk.until(lambda: len(desk.app.event_rows) == 27, "all events")


async def test_runs_of_earlier_days_are_read_from_the_store(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    for number in range(3):
        source.add_past(
            triage(f"{number + 1:x}" * 32, ts=1_780_000_000.0 + number), error="late" if number == 1 else None
        )
    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 3, "the runs")
        await desk.press("2", "j")
        await desk.until(
            lambda: desk.app.workspace.current and desk.app.workspace.current.trace_id == "2" * 32, "the trace"
        )
        await desk.until(lambda: "technical" in desk.text(), "the text")
        await desk.press("slash", *"late")
        await desk.until(lambda: len(desk.app.run_rows) == 1, "the filter")
        await desk.press("enter")
        await desk.until(lambda: any(query.text == "late" for query in source.queries), "the store's answer")
        await desk.press("escape")
        await desk.until(lambda: len(desk.app.run_rows) == 3, "all runs")


async def test_live_events_wait_while_their_trace_is_read(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    past = triage("7" * 32)
    source.add_past(past)
    source.stored[past.trace_id] = past.events[:20]
    source.gate.clear()
    async with open_desk() as desk:
        source.inbox.events.extend(past.events[15:22])
        await desk.frame()
        await desk.press("2", "g")
        desk.app.control.select(past.trace_id)
        await desk.until(lambda: past.trace_id in desk.app.workspace.loading, "the reading")
        source.inbox.events.extend(past.events[22:])
        source.stored[past.trace_id] = past.events[:23]
        await desk.frame()
        source.gate.set()
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the trace")
        assert len(desk.app.workspace.current.events) == 27


async def test_a_dead_host_is_told_and_the_screen_keeps_what_it_shows(
    open_desk: OpenDesk, triage: Callable[..., Any]
) -> None:
    async with open_desk() as desk:
        script = triage("cd" * 16, until="retry")
        desk.source.answer = lambda run: script.events
        await desk.press("j", "r")
        await desk.until(lambda: "attempt 1" in desk.text(), "the run")
        desk.source.inbox.host = HostState("dead", "the host died with exit code 1, restarting", 1)
        desk.source.inbox.notices.append(Notice("the host died with exit code 1", "error"))
        desk.source.result(script.trace_id, "interrupted")
        await desk.until(lambda: "interrupted" in desk.text(), "the interruption")
        text = desk.text()
        assert "the host died with exit code 1, restarting" in text.splitlines()[0]
        assert "attempt 1" in text
        assert desk.app.run_rows.line.status == "interrupted"
        desk.source.inbox.host = HostState("ready", "", 2)
        await desk.until(lambda: "● ready" in desk.text(), "the new host")


async def test_a_blocked_loop_says_where(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        desk.source.inbox.host = HostState("stalled", "blocked 1.2 s at flows/slow.py:28 in fetch", 1)
        await desk.until(
            lambda: "blocked 1.2 s at flows/slow.py:28 in fetch" in desk.text().splitlines()[0], "the place"
        )
        assert "ctrl+k" not in desk.text()
        await desk.press("5", "right_square_bracket")
        await desk.until(lambda: "▲ blocked 1.2 s" in desk.text(), "the text")


async def test_a_silent_host_is_told_and_can_be_killed(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        desk.source.inbox.host = HostState("silent", "host silent for 2 s", 1, killable=True)
        await desk.until(lambda: "host silent for 2 s · ctrl+k kills it" in desk.text().splitlines()[0], "the offer")
        desk.source.silent = True
        await desk.press("ctrl+k")
        await desk.until(lambda: desk.source.killed == 1, "the end")


async def test_broken_code_shows_its_card_and_the_last_good_version_runs(open_desk: OpenDesk, modules: Any) -> None:
    async with open_desk(size=(200, 60)) as desk:
        changed = modules()
        error = changed[2].error.model_copy(update={"file": "flows/triage.py"})
        changed[1] = changed[1].model_copy(update={"state": "stale", "error": error})
        await desk.press("j")
        desk.source.inbox.modules = changed
        await desk.until(lambda: "▲ triage:12" in desk.text(), "the mark")
        text = desk.text()
        assert "syntax error:12" in text.splitlines()[0]
        assert "close the bracket that opens in line 12" in text
        assert "last good version" in text
        await desk.press("r")
        await desk.until(lambda: desk.source.requests, "the run")
        desk.source.inbox.modules = modules()
        await desk.until(lambda: "● triage" in desk.text(), "the repair")


async def test_the_form_validates_and_runs(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "enter")
        await desk.until(lambda: "number of the ticket" in desk.text(), "the form")
        await desk.press("0", "ctrl+r")
        await desk.until(lambda: "✖ must be at least 1" in desk.text(), "the message")
        assert not desk.source.requests
        await desk.press("ctrl+u", "7", "enter")
        await desk.until(lambda: desk.source.requests, "the run")
        sent = desk.source.requests[0].input
        assert sent == {"id": 7, "text": "sync is slow", "priority": "low", "urgent": False}
        assert desk.app.state.inputs["flows/triage.py"][0] == sent


async def test_a_sample_fills_the_form(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "enter")
        await desk.until(lambda: "number of the ticket" in desk.text(), "the form")
        await desk.press("shift+tab", "enter", "down", "down", "enter")
        await desk.until(lambda: "impossible" in desk.text(), "the sample")
        await desk.press("ctrl+r")
        await desk.until(lambda: desk.source.requests, "the run")
        expected = {"id": 1, "text": "impossible", "priority": "high", "urgent": False}
        assert desk.source.requests[0].input == expected


async def test_headers_and_deadline_are_part_of_the_form(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "enter")
        await desk.until(lambda: "number of the ticket" in desk.text(), "the form")
        await desk.press("ctrl+o")
        await desk.until(lambda: "deadline_s" in desk.text(), "the field")
        desk.app.screen.query_one("#extra-1").focus()
        await desk.press("0", "ctrl+r")
        await desk.until(lambda: "must be more than 0" in desk.text(), "the message")
        await desk.press("ctrl+u", *"2.5", "ctrl+r")
        await desk.until(lambda: desk.source.requests, "the run")
        assert desk.source.requests[0].deadline_s == 2.5


async def test_what_the_host_refuses_stands_beside_its_field(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        desk.source.refusal = RunRefused("the input does not fit", [{"path": "/text", "message": "too short"}])
        await desk.press("j", "r")
        await desk.until(lambda: "✖ too short" in desk.text(), "the message")
        desk.source.refusal = None
        await desk.press("ctrl+r")
        await desk.until(lambda: len(desk.source.requests) == 2, "the run")


async def test_a_flow_without_input_runs_at_once(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("r")
        await desk.until(lambda: desk.source.requests, "the run")
        assert desk.source.requests[0].target == "flows/hello.py"


async def test_a_run_is_cancelled(open_desk: OpenDesk, triage: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        script = triage("ee" * 16, until="retry")
        desk.source.answer = lambda run: script.events
        await desk.press("j", "r")
        await desk.until(lambda: "attempt 1" in desk.text(), "the run")
        await desk.press("x")
        await desk.until(lambda: desk.source.cancelled == [script.trace_id], "the request")


async def test_the_palette_goes_to_a_node(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await desk.press("colon")
        await desk.until(lambda: "run: triage" in desk.text(), "the palette")
        await desk.press(*"node reply")
        await desk.until(lambda: "go: node reply ok" in desk.text(), "the command")
        await desk.press("enter")
        await desk.until(lambda: desk.app.pane.id == "trace" and desk.app.spans.span.name == "reply", "the node")


async def test_help_is_about_the_view_in_front(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("4", "right_square_bracket", "question_mark")
        await desk.until(lambda: "EVENTS · keys" in desk.text(), "the text")
        await desk.until(lambda: "kind:node.retry" in desk.text(), "the text")
        await desk.press("escape")
        assert "EVENTS · keys" not in desk.text()


async def test_tab_cycles_zoom_enlarges_and_escape_returns(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        for name in [*PANES[1:], PANES[0]]:
            await desk.press("tab")
            assert desk.app.pane.id == name
        await desk.press("3", "z")
        assert [pane.id for pane in desk.app.panes.values() if pane.region.width > 100] == ["trace"]
        assert "FLOWS" not in desk.text()
        await desk.press("escape", "escape", "escape")
        assert desk.app.pane.id == "flows"
        await desk.until(lambda: "FLOWS" in desk.text(), "the text")


async def test_the_footer_has_at_most_seven_keys_of_the_moment(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        for number in "12345":
            await desk.press(number)
            keys = desk.app.query_one("#keys")._keys
            assert len(keys) <= 7
            assert [key.key for key in keys[-2:]] == ["ctrl+p", "?"]


async def test_copying_goes_through_the_terminal(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current, "the run")
        await desk.press("2", "y")
        assert desk.app.clipboard == desk.app.run_rows.line.trace_id
        await desk.press("4", "right_square_bracket", "g", "y")
        assert json.loads(desk.app.clipboard)["kind"] == "trace.start"


async def test_the_mouse_picks_rows_tabs_and_keys(open_desk: OpenDesk) -> None:
    async with open_desk(size=(180, 40)) as desk:
        flows = desk.app.panes["flows"]
        await desk.pilot.click(flows, offset=(4, 2))
        await desk.frame()
        assert desk.app.flows.flow.name == "triage"
        await desk.pilot.click("#keys", offset=(desk.text().splitlines()[-1].index("run"), 0))
        await desk.until(lambda: desk.source.requests, "the run")
        inspect = desk.app.panes["inspect"]
        column = desk.text().splitlines()[inspect.region.y].index("Events", inspect.region.x) - inspect.region.x
        await desk.pilot.click(inspect, offset=(column, 0))
        await desk.frame()
        assert inspect.view is desk.app.event_rows
        await desk.pilot.click(desk.app.panes["trace"], offset=(8, 2), times=2)
        await desk.until(lambda: desk.app.pane.id == "inspect", "the inspector")


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 60)])
async def test_a_storm_of_sizes_leaves_a_whole_screen(open_desk: OpenDesk, size: tuple[int, int]) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r", "3")
        for width, height in [(20, 8), (300, 90), (81, 23), (1, 1), (63, 15), (64, 16), size]:
            await desk.pilot.resize_terminal(width, height)
        await desk.frame()
        lines = desk.text().splitlines()
        assert len(lines) == size[1]
        await desk.until(lambda: "TRACE" in desk.text(), "the text")
        assert "help" in lines[-1]


async def test_hostile_payloads_names_and_logs_never_reach_the_terminal(open_desk: OpenDesk, script: Any) -> None:
    evil = "\x1b[2J\x1b]0;pwned\x07\x9b1m\x00\u202e[bold]x[/bold]"
    made = script("66" * 16, flow=evil, target=evil)
    node = made.node(evil, made.send(made.root, "OpenSea", evil, {"type": evil, evil: evil}))
    made.chunk(node, evil, 0, evil + "\n" + evil)
    made.end(
        made.attempt(node), "error", error={"type": evil, "message": evil, "traceback": evil, "file": evil, "line": 1}
    )
    made.end(node, "error", error={"code": evil, "message": evil})
    made.finish("error", error={"code": evil, "message": evil})
    async with open_desk(size=(200, 60)) as desk:
        desk.source.answer = lambda run: made.events
        desk.source.inbox.logs.append(LogLine(ts=0, source="stdout", text=evil))
        desk.source.inbox.notices.append(Notice(evil, "error"))
        desk.source.inbox.host = HostState("stalled", evil, 1)
        await desk.press("r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        for keys in (
            ["3", "j", "j"],
            ["4", "right_square_bracket", "j", "j"],
            ["enter"],
            ["5", "right_square_bracket"],
        ):
            await desk.press(*keys)
            assert desk.text().replace("\n", "").isprintable()
        await desk.until(lambda: "[bold]x[/bold]" in desk.text(), "the text")


async def test_a_row_that_cannot_be_made_is_one_bad_row(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        desk.app.spans.rows[1][0].start_ns = None
        desk.app.spans.touch()
        await desk.frame()
        text = desk.text()
        assert "⚠ cannot be shown" in text
        assert "✔ reply" in text


async def test_a_source_that_fails_is_a_notice(
    open_desk: OpenDesk, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(query: object) -> list[object]:
        raise OSError("the database is gone")

    monkeypatch.setattr(source, "find_traces", broken)
    async with open_desk() as desk:
        await desk.until(lambda: "the database is gone" in desk.text(), "the notice")


async def test_a_store_that_breaks_is_one_notice_in_plain_words(
    open_desk: OpenDesk, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(query: object) -> list[object]:
        source.queries.append(query)
        raise StoreUnreadable("state.db is damaged; move it aside")

    said: list[str] = []
    monkeypatch.setattr("playground.dashboard.frames.RUNS_EVERY_S", 0.0)
    async with open_desk() as desk:
        monkeypatch.setattr(desk.app, "notify", lambda message, **_: said.append(message))
        monkeypatch.setattr(source, "find_traces", broken)
        asked = len(source.queries)
        source.inbox.not_recorded = "state.db is damaged; move it aside"
        await desk.until(lambda: len(source.queries) > asked + 3, "several looks at the list")
        assert len(said) == 1
        assert "StoreUnreadable" not in said[0]
        assert said[0].endswith("state.db is damaged; move it aside")

        monkeypatch.undo()
        source.inbox.not_recorded = ""
        asked = len(source.queries)
        await desk.until(lambda: len(source.queries) > asked, "a look that works")


async def test_a_store_that_breaks_again_is_news(
    open_desk: OpenDesk, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    async with open_desk() as desk:
        monkeypatch.setattr(desk.app, "notify", lambda message, **_: said.append(message))
        for news in ("the disk is full", "the disk is full", "", "the disk is full"):
            source.inbox.not_recorded = news
            await desk.until(lambda: source.inbox.not_recorded is None, "the news")
    assert said == ["runs are not recorded: the disk is full"] * 2


async def test_thousands_of_events_a_second_leave_the_keys_quick(open_desk: OpenDesk, script: Any) -> None:
    made = script("99" * 16)
    for number in range(3000):
        node = made.node("work", f"m{number}")
        made.chunk(node, "answer", number, "token ")
        made.end(node)
    async with open_desk(size=(160, 50)) as desk:
        inbox, events = desk.source.inbox, made.events
        await desk.press("3")
        idle: list[float] = []
        for key in "jkjk":
            began = time.thread_time()
            await desk.pilot.press(key)
            idle.append(time.thread_time() - began)
        waits: list[float] = []
        for start in range(0, len(events), 450):
            inbox.events.extend(events[start : start + 450])
            began = time.thread_time()
            await desk.pilot.press("j" if start % 900 else "k")
            waits.append(time.thread_time() - began)
            await desk.frame()
        await desk.until(
            lambda: desk.app.workspace.current and len(desk.app.workspace.current.events) == len(events), "all"
        )
        assert sorted(waits)[len(waits) // 2] < max(0.25, 10 * max(idle))
        assert len(desk.app.spans) == 3001


async def test_what_was_chosen_is_remembered(open_desk: OpenDesk) -> None:
    state = UiState(theme="nord", raw=True)
    async with open_desk(state=state) as desk:
        assert desk.app.theme == "nord"
        await desk.press("m", "greater_than_sign", "plus")
    assert (state.raw, state.left, state.lower) == (False, 2, 1)
    assert desk.source.stopped


def test_the_first_paint_needs_none_of_the_heavy_modules(tmp_path: Path) -> None:
    code = (
        "import sys, playground.dashboard.start\n"
        "print([name for name in ('pydantic', 'pydantic_core', 'websockets', 'watchfiles', 'sqlite3', 'typer')"
        " if name in sys.modules])"
    )
    # Measuring coverage imports modules of its own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=env
    )
    assert done.stdout.strip() == "[]"


async def test_keys_of_one_burst_go_where_the_first_of_them_leads(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        runs = len(desk.source.requests)
        # Without a pause between them, as they come over a slow line: all are there before the line is.
        for char in "4]/bBkind:rSHq":
            desk.app.post_message(events.Key({"/": "slash", "]": "right_square_bracket"}.get(char, char), char))
        await desk.until(lambda: desk.app.event_rows.filter.text == "bBkind:rSHq", "the filter")
        assert len(desk.source.requests) == runs
        assert len(desk.app.screen_stack) == 1
        assert desk.app.is_running


async def test_a_key_that_goes_wrong_is_a_notice_and_the_screen_goes_on(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk() as desk:

        def fail() -> None:
            raise RuntimeError("no fish")

        async def fail_later() -> None:
            raise RuntimeError("no krill")

        monkeypatch.setattr(desk.app.areas["chat"], "open", fail)
        await desk.press("w")
        await desk.until(lambda: "no fish" in desk.text(), "the notice")
        monkeypatch.setattr(desk.app.areas["chat"], "open", fail_later)
        await desk.press("w")
        await desk.until(lambda: "no krill" in desk.text(), "the notice")
        await desk.press("j")
        assert "● ready" in desk.text()


async def test_a_row_that_cannot_be_made_costs_its_own_line(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk() as desk:
        made = desk.app.flows.row

        def row(index: int, width: int) -> Any:
            if index == 1:
                raise RuntimeError("no fish")
            return made(index, width)

        monkeypatch.setattr(desk.app.flows, "row", row)
        desk.app.flows.touch()
        await desk.until(lambda: "cannot be shown" in desk.text(), "the row")
        assert "● hello" in desk.text()
