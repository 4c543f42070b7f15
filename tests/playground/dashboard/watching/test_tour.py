from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playground.breakpoints import Breakpoint
from playground.dashboard.layout import load_state, save_state
from playground.dashboard.watching.tour import STEPS
from playground.protocol import Breakpoints, Resumed, Stopped

ID = "9e9a20c1" * 4
Triage = Callable[..., Any]


async def test_each_step_waits_for_its_key(open_desk: Any, source: Any, triage: Triage) -> None:
    source.answer = lambda run: triage(f"{len(source.requests):032x}").events
    there = Breakpoints(breakpoints=[Breakpoint(id="1", on="node", name="route")])
    async with open_desk(size=(100, 36)) as desk:
        tour = desk.app.areas["watching"].tour
        source.inbox.breakpoints = there
        await desk.until(lambda: desk.app.workspace.breakpoints.all, "the breakpoint")
        await desk.press("ctrl+t")
        assert tour.flow.name == "triage"
        assert "TOUR 1/" in desk.text()
        assert "Pick triage in FLOWS" in desk.text()
        # Nothing but the key that is asked for goes on.
        await desk.press("tab")
        assert tour.number == 0
        await desk.press("1", "j")
        await desk.until(lambda: "Press r: triage runs" in desk.text(), "step 2")
        await desk.press("r")
        await desk.until(lambda: "Press 3" in desk.text(), "step 3")
        await desk.press("3", "g", "j", "j")
        await desk.until(lambda: "as a waterfall" in desk.text(), "step 4")
        await desk.press("right_square_bracket")
        await desk.until(lambda: "graph of the flow" in desk.text(), "step 5")
        await desk.press("right_square_bracket")
        # No model was asked: that step is left out.
        await desk.until(lambda: "until Tree is in front" in desk.text(), "step 7")
        while desk.app.panes["trace"].view is not desk.app.spans:
            await desk.press("left_square_bracket")
        await desk.press("g", "j")
        await desk.until(lambda: "Press b:" in desk.text(), "step 8")
        # There was one already: the key takes it away, and then sets it.
        source.inbox.breakpoints = Breakpoints()
        await desk.until(lambda: "Press b again" in desk.text(), "what b did")
        source.inbox.breakpoints = there
        await desk.until(lambda: "it stops there" in desk.text(), "step 9")
        source.answer = lambda run: triage(ID, until="retry").events
        stop = {"stop": "s1", "trace_id": ID, "span_id": "1", "path": [], "kind": "before_node", "name": "route"}
        await desk.press("r")
        source.inbox.stops.append(Stopped.model_validate({**stop, "payload": {}, "since": 0.0}))
        await desk.until(lambda: "Press s to go one step" in desk.text(), "step 10")
        source.inbox.stops.append(Resumed.model_validate({"stop": "s1", "trace_id": ID, "action": "proceed"}))
        await desk.until(lambda: "Press ?: the keys" in desk.text(), "step 11")
        await desk.press("question_mark")
        await desk.until(lambda: not tour.on, "the end")
        await desk.press("escape")
        assert "TOUR" not in desk.text()


async def test_who_went_to_another_flow_is_told_which_one_is_to_run(open_desk: Any) -> None:
    async with open_desk(size=(100, 36)) as desk:
        await desk.press("ctrl+t", "j")
        await desk.until(lambda: "Press r: triage runs" in desk.text(), "step 2")
        await desk.press("k")
        await desk.until(lambda: "Pick triage in FLOWS" in desk.text(), "the way back")
        assert desk.app.areas["watching"].tour.number == 1
        await desk.press("j")
        await desk.until(lambda: "Press r: triage runs" in desk.text(), "step 2 again")


async def test_it_is_left_at_any_step(open_desk: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("ctrl+t")
        assert "ctrl+t ends the tour" in desk.text()
        await desk.press("ctrl+t")
        assert "TOUR" not in desk.text()


async def test_without_flows_it_says_so(open_desk: Any, source: Any) -> None:
    source.modules = []
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("ctrl+t")
        assert "there is no flow to show" in desk.text()


async def test_it_is_offered_once(open_desk: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        area = desk.app.areas["watching"]
        area.offer = "offer"
        await desk.until(lambda: "new here?" in desk.text(), "the offer")
        assert desk.app.state.toured
        assert area.offer is None
        assert not area.tour.on
        area.offer = "start"
        await desk.until(lambda: area.tour.on, "the tour")


def test_that_it_was_offered_is_remembered(tmp_path: Any) -> None:
    state = load_state(tmp_path / "ui.json")
    assert not state.toured
    state.toured = True
    save_state(tmp_path / "ui.json", state)
    assert load_state(tmp_path / "ui.json").toured


def test_texts_fit_a_small_terminal() -> None:
    from playground.dashboard.text import wrap
    from playground.dashboard.watching.card import TEXT_ROWS

    for step in STEPS:
        lines = [*wrap(step.ask.format(flow="research_agent"), 78), *wrap(step.why.format(flow="x"), 78)]
        assert len(lines) <= TEXT_ROWS, step.ask
