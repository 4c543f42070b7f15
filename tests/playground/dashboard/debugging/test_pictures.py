"""Pictures of debugging: a run that has stopped, breakpoints, the context, the editor, the forms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from playground.breakpoints import Breakpoint
from playground.debug_frames import KvEntry
from playground.protocol import Breakpoints, Context, Kv, Memory

OpenDesk = Callable[..., Any]
ID = "9e9a20c1" * 4
TABS = ["Stopped", "Breakpoints", "Context"]
SCREENS = ["editor", "completion", "fault", "changes", "form"]

PAYLOAD = {
    "tool": "fetch",
    "args": {"url": "corpus://birds/emperor-penguin", "timeout_s": 30, "headers": {"accept": "text/html"}},
    "call_id": "call_2_1",
}
SCHEMA = {
    "type": "object",
    "required": ["tool", "args"],
    "properties": {
        "tool": {"enum": ["fetch", "search", "compare", "publish"], "description": "which tool is called"},
        "args": {
            "type": "object",
            "title": "Fetch",
            "required": ["url"],
            "properties": {
                "url": {"type": "string", "minLength": 1},
                "timeout_s": {"type": "number", "maximum": 60},
                "headers": {"type": "object"},
            },
        },
        "call_id": {"type": "string"},
    },
}
WHY = {
    "messages": [
        {"role": "system", "content": "You plan and act: you call tools, one step after the other.\nToday is Monday."},
        {"role": "user", "content": '{"query": "What do emperor penguins eat?"}'},
    ],
    "reply": '{"next_node": "fetch", "args": {"url": "corpus://birds/emperor-penguin"}}',
    "decision": {"next_node": "fetch", "args": {"url": "corpus://birds/emperor-penguin"}, "thought": "The best first."},
    "seqs": {"llm.start": 15},
    "cut": ["messages"],
}
POINTS = [
    {"id": "1", "on": "tool", "name": "fetch", "condition": '"b" in args.url', "target": "flows/triage.py", "hits": 3},
    {"id": "2", "on": "kind", "kind": "after_decision", "once": True, "enabled": False, "hits": 1},
    {"id": "3", "on": "error"},
    {"id": "4", "on": "node", "name": "technical", "condition": "args.n > 3"},
]
PARTS = [
    {"name": "headers", "value": {"tenant": "playground", "priority": 0}, "version": "1"},
    {"name": "meta", "value": {}, "version": "1", "editable": False, "why_not": "the node takes payloads"},
    {"name": "llm_context", "value": {"audience": "children"}, "version": "1"},
    {"name": "tool_context", "value": {"tenant_id": "demo", "session_id": "first"}, "version": "1"},
]
MEMORY = {
    "key": "demo:reader:first", "planner": "research_agent", "version": 7, "tokens": 2750, "total_max_tokens": 4000,
    "summary": "The reader asked about krill and its fishery, and wanted short answers.",
    "turns": [
        {"turn_id": "t1", "user_message": "What do emperor penguins eat?", "assistant_response": "Fish, and krill."},
        {"turn_id": "t2", "user_message": "And who eats them?", "assistant_response": "Leopard seals, and skuas."},
    ],
    "artifacts": [{"id": "a1", "mime_type": "image/png", "size_bytes": 20480}],
}  # fmt: skip


@pytest.fixture
def stopped(open_desk: OpenDesk, source: Any, triage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> OpenDesk:
    """A desk with a run that has stopped, in two of its branches."""
    monkeypatch.setattr("playground.dashboard.debugging.documents.when", lambda ts: "14:02:11")
    points = [Breakpoint.model_validate(each) for each in POINTS]
    source.breakpoints = {each.id: each for each in points}
    source.answer = lambda run: triage(ID, until="retry").events[:9]
    source.context_answer = lambda request: Context.model_validate(
        {"stop": request.stop, "trace_id": ID, "parts": PARTS}
    )
    source.memory_answer = lambda request: Memory.model_validate({"memory": MEMORY})

    @asynccontextmanager
    async def opened(size: tuple[int, int]) -> Any:
        async with open_desk(size=size) as desk:
            source.inbox.breakpoints = Breakpoints(breakpoints=points, unfit={"4": "there is no `n` in args"})
            desk.app.flows.pick("flows/triage.py")
            desk.app.launcher.run(desk.app.flows.flow, {})
            await desk.until(lambda: desk.app.workspace.current, "the run")
            span = next(iter(desk.app.workspace.current.spans))
            fields = {"span_id": span, "path": ["node:research[m1]", "planner:research[0]", "step:step[1]"]}
            more = {"payload": PAYLOAD, "why": WHY, "breakpoint": "1", "value_schema": SCHEMA, "memory": MEMORY["key"]}
            actions = ["proceed", "edit", "skip", "abort"]
            source.stops_at(ID, "1:stop-1", "before_tool", "fetch", **fields, **more, actions=actions)
            source.stops_at(ID, "1:stop-2", "before_tool", "compare", **fields)
            await desk.until(lambda: len(desk.app.workspace.stops) == 2, "the stops")
            desk.app.clear_notifications()
            yield desk

    return opened


async def front(desk: Any, name: str) -> Any:
    """The pane whose tab is brought to the front, with what it waits for."""
    for pane in desk.app.panes.values():
        for view in pane.views:
            if view.label == name:
                pane.show_view(view)
                desk.app.action_focus_pane(pane.id)
                await desk.until(lambda view=view: len(view) > 2, "its rows")
                await desk.press("g")
                desk.app.clear_notifications()
                await desk.frame()
                return pane
    raise AssertionError(name)


async def open_screen(desk: Any, name: str) -> None:
    """A screen of its own, in the state that is to be seen."""
    if name == "form":
        desk.app.areas["debugging"].places.ask(desk.app.workspace.breakpoints.get("1"))
        await desk.until(lambda: "Change a breakpoint" in desk.text(), "the form")
        return
    desk.app.areas["debugging"].edit()
    await desk.until(lambda: "fits the schema" in desk.text(), "the editor")
    area = desk.app.screen._area
    area.cursor_blink = False
    if name == "completion":
        area.move_cursor((1, 11))
        await desk.press(*["delete"] * 7, "ctrl+at")
        await desk.until(lambda: "publish" in desk.text(), "the list")
    elif name == "fault":
        area.move_cursor((4, 18))
        await desk.press("0")
        await desk.until(lambda: "at most 60" in desk.text(), "the fault")
    elif name == "changes":
        area.move_cursor((4, 18))
        await desk.press("backspace", "ctrl+d")
        await desk.until(lambda: "ctrl+d text" in desk.text(), "the changes")


@pytest.mark.parametrize("name", TABS)
async def test_tabs(stopped: OpenDesk, name: str, album: Any) -> None:
    async with stopped((80, 24)) as desk:
        await front(desk, name)
        await album.take(desk, name)


@pytest.mark.parametrize("name", SCREENS)
async def test_screens(stopped: OpenDesk, name: str, album: Any) -> None:
    async with stopped((80, 24)) as desk:
        await open_screen(desk, name)

        async def again() -> None:
            await desk.press("ctrl+d", "ctrl+d")

        await album.take(desk, f"break-{name}" if name == "form" else name, again if name == "changes" else None)


async def test_a_new_breakpoint(stopped: OpenDesk, album: Any) -> None:
    async with stopped((80, 24)) as desk:
        await desk.press("1", "b")
        await desk.until(lambda: "node technical" in desk.text(), "the places")
        await album.take(desk, "new-breakpoint")


async def test_who_only_looks_on(stopped: OpenDesk, album: Any, source: Any) -> None:
    async with stopped((80, 24)) as desk:
        source.can_decide = source.can_run = False
        desk.app.areas["debugging"]._shown = ()
        await front(desk, "Stopped")
        await album.take(desk, "stopped-for-viewers")


async def test_a_conversation_between_runs(stopped: OpenDesk, album: Any, source: Any) -> None:
    async with stopped((80, 24)) as desk:
        await front(desk, "Context")
        await desk.press("G")
        await album.take(desk, "memory")


@pytest.mark.parametrize("size", [(40, 10), (20, 8)], ids="{0[0]}x{0[1]}".format)
async def test_tiny_terminals(stopped: OpenDesk, size: tuple[int, int]) -> None:
    async with stopped(size) as desk:
        for name in TABS:
            await front(desk, name)
            assert "cannot be shown" not in desk.text()
        desk.app.areas["debugging"].edit()
        await desk.until(lambda: len(desk.app.screen_stack) == 2, "the editor")
        await desk.press("ctrl+at", "escape", "escape")
        await desk.until(lambda: len(desk.app.screen_stack) == 1, "the panes")


async def test_what_tools_keep(open_desk: OpenDesk, album: Any, source: Any) -> None:
    session = "playground:ada:desk"
    entries: list[dict[str, Any]] = [
        {"namespace": "refunds", "key": "A-103", "value": {"reference": "R-0831", "amount": 18.0}, "etag": "1"},
        {"namespace": "shop", "key": "basket", "value": ["woolen scarf", "ice axe"], "etag": "2"},
        {"key": "password", "value": {"$secret": "hmac:5f1d9ab2"}, "etag": "3"},
        {"key": "visits", "value": 3, "scope": "task", "task": "t-1", "etag": "4"},
    ]
    kept = [KvEntry.model_validate({"session": session, "updated": 1_790_000_000.0, **each}) for each in entries]
    source.kv_answer = lambda request: Kv(sessions=[session], entries=kept)
    async with open_desk(size=(80, 24)) as desk:
        await front(desk, "Context")
        await desk.until(lambda: "basket" in desk.text(), "the values")
        await album.take(desk, "kv")
