"""What the lists say, and that enter opens what the cursor is on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.text import clip_start

OpenDesk = Callable[..., Any]


async def test_enter_opens_the_run_under_the_cursor(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    for number in range(3):
        source.add_past(
            triage(f"{number + 1:x}" * 32, ts=1_780_000_000.0 + number), error="late" if number == 1 else None
        )
    async with open_desk() as desk:

        def shown() -> str:
            current = desk.app.workspace.current
            return "" if current is None else current.trace_id[0]

        await desk.until(lambda: len(desk.app.run_rows) == 3, "the runs")
        await desk.press("2", "enter")
        await desk.until(lambda: shown() == "3", "the run that no key had moved to")
        assert desk.app.pane.id == "trace"
        await desk.press("2", "slash", *"late", "enter", "enter")
        await desk.until(lambda: shown() == "2", "the only run that the filter left")
        # A run of another process comes in above, and the cursor stays where it is: on the first row.
        desk.app.finder.clear(desk.app.panes["runs"])
        await desk.press("2", "g")
        source.add_past(triage("4" * 32, ts=1_780_000_100.0))
        desk.app.control.refresh_runs()
        await desk.until(lambda: len(desk.app.run_rows) == 4, "the other run")
        picked = desk.app.run_rows.line.trace_id[0]
        await desk.press("enter")
        await desk.until(lambda: shown() == picked, "the run under the cursor")


async def test_enter_on_no_run_goes_nowhere(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("2", "enter")
        assert desk.app.pane.id == "runs"


async def test_code_that_breaks_in_a_helper_names_the_helper(open_desk: OpenDesk, modules: Any) -> None:
    async with open_desk(size=(200, 60)) as desk:
        changed = modules()
        error = changed[2].error.model_copy(update={"file": "flows/prompts.py", "line": 1})
        changed[1] = changed[1].model_copy(update={"state": "stale", "error": error})
        await desk.press("j")
        desk.source.inbox.modules = changed
        await desk.until(lambda: "▲ triage flows/prompts.py:1 " in desk.text(), "the mark")
        assert "flows/triage.py ▲ syntax error in flows/prompts.py:1" in desk.text().splitlines()[0]
        await desk.until(lambda: "✖ broken:12" in desk.text(), "the text")
        await desk.pilot.resize_terminal(100, 40)
        await desk.until(lambda: "▲ triage …s/prompts.py:1" in desk.text(), "the narrow mark")


async def test_a_run_that_nothing_happens_in_says_what_it_waits_for(open_desk: OpenDesk, script: Any) -> None:
    async with open_desk() as desk:
        waiting = script("ef" * 16)
        first = waiting.send(waiting.root, "OpenSea", "route", {"id": 1})
        desk.source.answer = lambda run: list(waiting.events)
        await desk.press("j", "r")
        await desk.until(lambda: desk.text().count("for route") == 2, "the row and the tree")
        sent = len(waiting.events)
        waiting.event("message.dequeued", "OpenSea->route", waiting.root, None, {"message_id": first})
        waiting.node("route", first)
        desk.source.inbox.events.extend(waiting.events[sent:])
        await desk.until(lambda: "for route" not in desk.text(), "the node")
        await desk.until(lambda: "● route" in desk.text(), "the text")


async def test_runs_of_other_processes_come_in_behind_an_open_form(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    async with open_desk(size=(140, 40)) as desk:
        await desk.press("j", "enter")
        await desk.until(lambda: "number of the ticket" in desk.text(), "the form")
        source.add_past(triage("4" * 32, ts=1_780_000_100.0))
        await desk.until(lambda: "✔ 4444" in desk.text(), "the other run")
        await desk.until(lambda: "number of the ticket" in desk.text(), "the text")


async def test_a_run_of_another_process_is_followed_in_the_store(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    run = triage("4" * 32)
    source.add_past(run, "running")
    source.stored[run.trace_id] = run.events[:20]
    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 1, "the run")
        await desk.press("2", "enter")
        assert "elsewhere" in desk.text()
        await desk.until(lambda: "● technical" in desk.text(), "the running node")
        # The host that is watched has it after all.
        source.inbox.events.append(run.events[20])
        await desk.until(lambda: "elsewhere" not in desk.text(), "that it runs here")
        source.stored[run.trace_id] = run.events
        await desk.until(lambda: "✔ technical" in desk.text() and "✔ reply" in desk.text(), "the end")


async def test_what_is_still_being_read_is_not_said_to_run(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playground.dashboard.control.PAGE", 10)
    source.add_past(triage("4" * 32))
    source.add_past(triage("5" * 32))
    gate, pages = asyncio.Event(), source.load_event_bytes

    async def load(trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        if after >= 0:
            await gate.wait()
        return list(await pages(trace_id, after=after, limit=limit))

    monkeypatch.setattr(source, "load_event_bytes", load)
    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 2, "the runs")
        await desk.press("2", "enter")
        await desk.until(lambda: "◌ technical" in desk.text(), "the first page")
        await desk.until(lambda: "loading…" in desk.text(), "the text")
        assert "● technical" not in desk.text()
        # Another run is wanted before its end: it is read anew when it is asked for again.
        desk.app.control.select("4" * 32)
        gate.set()
        await desk.until(lambda: "✔ technical" in desk.text() and "TRACE 44444444" in desk.text(), "the other run")
        desk.app.control.select("5" * 32)
        await desk.until(lambda: "✔ technical" in desk.text() and "TRACE 55555555" in desk.text(), "the whole run")
        assert "◌" not in "".join(line for line in desk.text().splitlines() if "technical" in line)


async def test_empty_panes_say_what_to_do_in_full(open_desk: OpenDesk, source: Any) -> None:
    source.modules = []
    async with open_desk(size=(80, 24)) as desk:
        await desk.until(lambda: "No flows here." in desk.text(), "the flows")
        hint = [line[2:22].strip() for line in desk.text().splitlines()]
        assert "Put one in flows/, or name a file:" in " ".join(hint)
        await desk.press("4", "z")
        await desk.until(lambda: "what is selected is shown here." in desk.text(), "the text")
        await desk.press("z", "3")
        await desk.until(lambda: "a small project that runs." in desk.text(), "the text")


def test_paths_keep_their_end() -> None:
    assert [clip_start("flows/prompts.py:1", width) for width in (18, 8, 1, 0)] == [
        "flows/prompts.py:1",
        "…ts.py:1",
        "…",
        "",
    ]
