"""A project with a store, and traces in it, for tests that read them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penguiflow.observer import Payload
from penguiflow.state.sqlite import SQLiteStateStore

WriteTrace = Callable[..., Awaitable[None]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the working directory."""
    monkeypatch.delenv("PENGUIFLOW_HOME", raising=False)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_trace(project: Path) -> WriteTrace:
    """Records a trace of `nodes` nodes; the last one fails when there is an `error`."""

    async def write(trace_id: str, *, nodes: int = 1, error: dict[str, Any] | None = None, **data: Any) -> None:
        store = SQLiteStateStore(project / ".penguiflow" / "state.db")
        log = store.recorder(name="digest").open(trace_id, {"flow": "digest", "target": "flows/digest.py", **data})
        for number in range(nodes):
            node = log.start("node", "work", log.root, {"message_id": f"m{number}"})
            payload = Payload({"text": "\x1b[31m\u202e", "number": number})
            log.event(
                "message.enqueued",
                "work->Rookery",
                node,
                {"message_id": f"o{number}", "source": "work", "target": "Rookery", "payload": payload},
            )
            failed = error is not None and number == nodes - 1
            log.end("node", "work", node, log.root, "error" if failed else "ok", {"error": error} if failed else None)
        log.close("error" if error else "ok", {"error": error} if error else None)
        await store.close()

    return write
