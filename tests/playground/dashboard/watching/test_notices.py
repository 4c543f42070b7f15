from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playground.dashboard.runs import RunLine
from playground.dashboard.watching.notices import Watcher


def line(number: int, status: str = "running", **more: Any) -> RunLine:
    made = RunLine(f"{number:032x}", 0.0)
    made.status, made.flow = status, "triage"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def look(watcher: Watcher, *lines: RunLine, in_sight: str | None = None) -> list[tuple[str, str]]:
    known = {each.trace_id: each for each in lines}
    return [*watcher.look([each for each in lines if each.status == "running"], known.get, in_sight)]


def test_a_run_that_ended_out_of_sight_is_told_once() -> None:
    watcher = Watcher()
    assert look(watcher, line(1)) == []
    done = line(1, "ok", duration_s=123.0)
    assert look(watcher, done) == [("✔ triage 00000000 ok after 2m03s", "information")]
    assert look(watcher, done) == []


def test_a_failure_says_why() -> None:
    watcher = Watcher()
    look(watcher, line(1))
    ((text, severity),) = look(watcher, line(1, "error", duration_s=1.0, error="no\x1b[2J way"))
    assert text.endswith("error after 1.00 s: no␛[2J way")
    assert severity == "error"


def test_the_run_in_sight_is_not_told() -> None:
    watcher = Watcher()
    look(watcher, line(1))
    assert look(watcher, line(1, "ok"), in_sight=line(1).trace_id) == []


def test_many_are_told_together() -> None:
    watcher = Watcher()
    look(watcher, *(line(number) for number in range(10)))
    told = look(watcher, *(line(number, "error" if number == 3 else "ok") for number in range(10)))
    assert told == [("10 runs ended: ✔ 9 ok, ✖ 1 error", "warning")]


async def test_in_the_dashboard(open_desk: Any, source: Any, triage: Callable[..., Any]) -> None:
    old, new = "ab" * 16, "cd" * 16
    source.answer = lambda run: triage(old, until="retry").events
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current is not None, "the first run")
        watched = desk.app.areas["watching"]._watcher
        await desk.until(lambda: old in watched._running, "the first run to be noticed")
        source.answer = lambda run: triage(new).events
        await desk.press("r")
        await desk.until(lambda: desk.app.workspace.current.trace_id == new, "the second run")
        source.inbox.events.extend(triage(old).events[len(triage(old, until="retry").events) :])
        await desk.until(lambda: "triage abababab ok after" in desk.text(), "the notice")
