"""A long recorded trace on the screen: all of its events at once, its tree when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penguiflow.state import SQLiteStateStore
from penguiflow.state.pieces import Pieces

ROUNDS = 1200


async def recorded(path: Path) -> SQLiteStateStore:
    """A run of 1,200 nodes whose only retry is its last event but one."""
    store = SQLiteStateStore(path)
    log = store.recorder(name="loop").open("4" * 32)
    for number in range(ROUNDS):
        node = log.start("node", f"node{number}", log.root, {"message_id": f"{number:016x}"})
        log.event("stream.chunk", "s", node, {"stream_id": "s", "chunk_seq": number, "text": "x\n", "done": False})
        log.end("node", f"node{number}", node, log.root, "ok")
    log.event("node.retry", "node0", log.root, {"attempt": 1, "error": {"message": "needle"}})
    log.close("ok")
    await store.flush()
    return store


async def test_it_is_read_where_it_lies(
    tmp_path: Path, open_desk: Any, source: Any, triage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await recorded(tmp_path / "state.db")
    total = 3 * ROUNDS + 3

    async def open_pieces(trace_id: str) -> Pieces:
        return await store.open_pieces(trace_id)

    async def load(trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        return await store.load_event_bytes(trace_id, after=after, limit=limit)

    monkeypatch.setattr(source, "open_pieces", open_pieces)
    monkeypatch.setattr(source, "load_event_bytes", load)
    source.add_past(triage("4" * 32))
    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 1, "the run")
        await desk.press("2", "enter")
        trace = await shown(desk)
        assert len(trace.events) == total
        await desk.until(lambda: not trace.loading, "the whole run")
        assert (trace.taken, len(trace.spans)) == (total, ROUNDS + 1)
        await desk.until(lambda: len(desk.app.spans) == ROUNDS + 1, "the rows")
        await desk.press("3", "G")
        await desk.until(lambda: f"node{ROUNDS - 1}" in desk.text(), "the last node")
        desk.app.event_rows.set_filter("/needle|nothing/")
        await desk.until(lambda: not desk.app.event_rows.busy, "the search")
        assert [desk.app.event_rows.index(row) for row in range(len(desk.app.event_rows))] == [total - 2]
        await desk.press("comma")
        await desk.until(lambda: desk.app.workspace.moment is not None, "the timeline")
        await desk.press("pageup")
        await desk.until(lambda: desk.app.workspace.current is not trace, "a moment")
        assert len(desk.app.workspace.current.events) == total - total // 10
    await store.close()


async def shown(desk: Any) -> Any:
    """The trace, as soon as it is on the screen."""
    await desk.until(lambda: desk.app.workspace.current is not None, "the first rows")
    return desk.app.workspace.current
