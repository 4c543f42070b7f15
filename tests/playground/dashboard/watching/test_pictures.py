"""Pictures of what is watched: a planner's run as tree, waterfall, graph, calls and stream; statistics."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penguiflow.state.statistics import FlowStatistics, PartStatistics, RunPoint, Times

OpenDesk = Callable[..., Any]
ID = "9e9a20c1" * 4
NAMES = ["Tree", "Waterfall", "Graph", "LLM", "Stream"]


def boxed(value: Any) -> dict[str, Any]:
    return {"type": "builtins:dict", "value": value}


def research(script: Any) -> Any:
    """A planner with a repaired reply, a parallel plan with retries, a join, thoughts, and an answer."""
    run = script(ID, flow="research", target="flows/triage.py")
    message = run.send(run.root, "OpenSea", "research", ("flows.research:Query", {"query": "What do penguins eat?"}))
    run.ms = 4
    node = run.node("research", message)
    attempt = run.attempt(node)
    tools = {"tools": ["search", "fetch", "compare", "publish"], "model": "gpt-x", "mode": "prompted"}
    planner = run.start("planner", "research", attempt, {"ordinal": 0, **tools})

    def call(step: str, purpose: str, reply: str, ms: float) -> None:
        messages = [
            {"role": "system", "content": "You plan and act."},
            {"role": "user", "content": "What do they eat?"},
        ]
        asked = {"model": "gpt-x", "messages": messages, "temperature": 0.2, "purpose": purpose}
        span = run.start("llm", "openai/gpt-x", step, {"request": boxed(asked), "ordinal": 0})
        run.ms += ms
        usage = {"input_tokens": 612, "output_tokens": 88, "cached_tokens": 40, "reasoning_tokens": 12}
        response = {"message": {"role": "assistant", "content": reply}, "reasoning": "Sources first."}
        run.end(span, response=boxed(response), usage=usage, cost=0.0021, finish_reasons=["stop"])

    def chunk(channel: str, number: int, text: str, done: bool = False, **meta: Any) -> None:
        name = f"research[0]/step[1]/{channel}"
        data = {
            "stream_id": name,
            "chunk_seq": number,
            "text": text,
            "done": done,
            "meta": {"channel": channel, **meta},
        }
        run.event("stream.chunk", name, node, None, data)

    step = run.start("step", "step", planner, {"ordinal": 0, "step": 0})
    call(step, "decision", "I would search", 310)
    run.event("planner.repair", "decision", step, planner, {"attempt": 1, "problem": "no JSON in the reply"})
    call(step, "repair", '{"next_node": "parallel"}', 240)
    plan = {"steps": [{"node": "fetch", "args": {"url": "a"}}, {"node": "fetch", "args": {"url": "b"}}]}
    decision = {
        "next_node": "parallel",
        "args": boxed(plan),
        "thought": "Both pages.",
        "source": "llm",
        "alternates": 0,
    }
    run.event("planner.decision", "parallel", step, planner, decision)
    branches = []
    for number, url in enumerate("ab"):
        branch = run.start("branch", "fetch", step, {"ordinal": number, "node": "fetch", "args": boxed({"url": url})})
        request = boxed({"tool": "fetch", "args": {"url": url}})
        branches.append((branch, run.start("tool", "fetch", branch, {"ordinal": 0, "request": request})))
    run.ms += 60
    run.event("node.retry", "fetch", branches[1][1], None, {"attempt": 1, "sleep_s": 0.2})
    run.ms += 90
    run.end(branches[0][1], response=boxed({"observation": {"text": "krill"}}))
    run.end(branches[0][0])
    run.ms += 200
    error = {"type": "ArchiveError", "message": "504: no answer"}
    run.end(branches[1][1], "error", error=error)
    run.end(branches[1][0], "error", error=error)
    join = run.start("join", "compare", step, {"ordinal": 0})
    run.ms += 40
    run.end(join)
    run.end(step)
    step = run.start("step", "step", planner, {"ordinal": 1, "step": 1})
    chunk("thinking", 0, "They eat krill, then.")
    chunk("answer", 0, "## Food\n\nEmperors eat **fish**, krill")
    run.ms += 200
    chunk("answer", 2, " and squid.\n\n- krill\n- fish\n", done=True)
    call(step, "decision", "Emperors eat fish.", 180)
    run.end(step)
    run.end(planner, reason="answer_complete", steps=2)
    run.end(attempt)
    run.send(node, "research", "Rookery", ("flows.research:Answer", {"text": "fish, krill and squid"}))
    run.end(node)
    run.finish()
    return run


def numbers() -> FlowStatistics:
    points = [
        RunPoint(
            trace_id=f"{number:032x}",
            started=1_780_000_000.0 + 7200 * number,
            duration_s=0.4 + 0.37 * (number * 7 % 5),
            status="error" if number in {3, 17} else "ok",
            tokens=800 + 190 * (number * 5 % 9),
            cost=0.002 + 0.0004 * (number * 5 % 9),
        )
        for number in range(28)
    ]
    rest: dict[str, Any] = {"failed": 0, "error_rate": 0.0, "retries": 0, "tokens": 0, "cost": 0.0}
    asked = {**rest, "tokens": 42_700, "cost": 0.1281}
    fetched = {**rest, "failed": 4, "error_rate": 0.05, "retries": 31}
    slow = Times(p50=310, p90=520, p99=1900, mean=400, max=2000)
    quick = Times(p50=90, p90=300, p99=700, mean=120, max=900)
    whole = Times(p50=820, p90=1500, p99=1900, mean=900, max=2100)
    parts = [
        PartStatistics(kind="llm", name="openai/gpt-x", count=61, times_ms=slow, **asked),
        PartStatistics(kind="tool", name="fetch", count=80, times_ms=quick, **fetched),
        PartStatistics(kind="node", name="research", count=28, times_ms=whole, **rest),
    ]
    return FlowStatistics(
        flow="research",
        runs=28,
        by_status={"ok": 26, "error": 2},
        failed=2,
        error_rate=2 / 28,
        first=points[0].started,
        last=points[-1].started,
        times_ms=Times(p50=820, p90=1880, p99=1900, mean=900, max=2100),
        llm_calls=61,
        tokens=42_700,
        cost=0.1281,
        parts=parts,
        points=points,
    )


@pytest.fixture
def finished(open_desk: OpenDesk, source: Any, script: Any, monkeypatch: pytest.MonkeyPatch) -> OpenDesk:
    """A desk with the research run, with a view of this package in front."""
    monkeypatch.setattr("playground.dashboard.model.Workspace.events_per_second", lambda self: 0.0)
    # Which day is today decides how dates are written.
    days = "playground.dashboard.watching.numbers.when"
    monkeypatch.setattr(days, lambda ts: time.strftime("%b %d %H:%M", time.gmtime(ts)))
    source.modules = [
        module.model_copy(update={"flows": []}) if module.error is None else module for module in source.modules
    ]
    source.modules[1].flows = [flow_info()]
    source.answer = lambda run: research(script).events
    source.numbers = lambda query: [numbers()]

    @asynccontextmanager
    async def opened(size: tuple[int, int]) -> Any:
        async with open_desk(size=size) as desk:
            await desk.until(lambda: len(desk.app.flows), "the flows")
            desk.app.flows.pick("flows/triage.py")
            desk.app.launcher.run(flow_info(), {})
            await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
            yield desk

    return opened


def flow_info() -> Any:
    from playground.protocol import FlowInfo, NodeInfo

    edges = [("OpenSea", "research"), ("research", "Rookery")]
    return FlowInfo(
        target="flows/triage.py", name="research", nodes=[NodeInfo(name="research")], edges=edges, version="11" * 32
    )


async def front(desk: Any, name: str) -> Any:
    """The pane whose tab is brought to the front."""
    for pane in desk.app.panes.values():
        for view in pane.views:
            if view.label == name:
                pane.show_view(view)
                desk.app.action_focus_pane(pane.id)
                await desk.press("g", "j")
                desk.app.clear_notifications()
                await desk.frame()
                return pane
    raise AssertionError(name)


def inside(desk: Any, pane: Any) -> list[list[Any]]:
    """The segments of the pane's rows: without its upper edge, for other tabs are none of ours."""
    strips = desk.app.screen._compositor.render_strips()
    region = pane.region
    return [list(strips[y].crop(region.x, region.right)) for y in range(region.y + 1, region.bottom)]


def text(rows: list[list[Any]]) -> str:
    return "\n" + "\n".join("".join(segment.text for segment in row) for row in rows)


async def test_views(finished: OpenDesk, album: Any) -> None:
    async with finished((80, 24)) as desk:
        for name in NAMES:
            await front(desk, name)
            await album.take(desk, name)


async def test_statistics(finished: OpenDesk, album: Any) -> None:
    async with finished((80, 24)) as desk:
        await desk.press("percent_sign")
        await desk.until(lambda: "part " in desk.text(), "the numbers")
        await album.take(desk, "statistics")
        await desk.press("question_mark")
        await desk.until(lambda: "esc closes" in desk.text(), "the help")
        await album.take(desk, "statistics-help")


async def test_no_statistics(finished: OpenDesk, album: Any, source: Any) -> None:
    source.numbers = lambda query: []
    async with finished((80, 24)) as desk:
        await desk.press("percent_sign")
        await desk.until(lambda: len(desk.app.screen_stack) == 2, "the screen")
        await desk.frame()
        await album.take(desk, "no-statistics")


async def test_the_graph_of_a_flow(open_desk: OpenDesk, triage: Callable[..., Any], source: Any, album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await front(desk, "Graph")
        await album.take(desk, "flow-graph")


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_lost_without_colors(finished: OpenDesk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with finished((120, 40)) as desk:
        colored = text(inside(desk, await front(desk, name)))
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    async with finished((120, 40)) as desk:
        assert text(inside(desk, await front(desk, name))) == colored


@pytest.mark.parametrize("size", [(40, 10), (20, 8)], ids="{0[0]}x{0[1]}".format)
async def test_tiny_terminals(finished: OpenDesk, size: tuple[int, int]) -> None:
    async with finished(size) as desk:
        for name in NAMES:
            pane = await front(desk, name)
            assert "cannot be shown" not in text(inside(desk, pane))
        await desk.press("percent_sign")
        await desk.press("ctrl+t", "escape")
