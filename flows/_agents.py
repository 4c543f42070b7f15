"""What the planners of this folder share: which model answers, and where they keep what they remember."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from penguiflow.llm.providers.base import Provider
from penguiflow.state.sqlite import SQLiteStateStore

MODEL_VARIABLE = "PENGUIFLOW_FLOWS_MODEL"
"""Names a real model, as `openai/gpt-5-mini`; without it a scripted one answers."""
URL_VARIABLE = "PENGUIFLOW_FLOWS_MODEL_URL"
"""Where the model is, if that is not where its name says: the address of a server that speaks OpenAI's protocol."""

_KEPT = frozenset(
    {
        *("save_planner_state", "load_planner_state", "peek_planner_state"),
        *("save_memory_state", "load_memory_state", "list_memory_states", "swap_memory_state"),
        "remove_memory_state",
    }
)


def model_of_environment(scripted: Provider) -> Any:
    """What `ReactPlanner` is given as its model: the one that the environment names, else the scripted one."""
    name = os.environ.get(MODEL_VARIABLE)
    if not name:
        return scripted
    url = os.environ.get(URL_VARIABLE)
    return {"model": name, "api_base": url} if url else name


class ProjectMemory:
    """Paused runs and memories, in the project's own `.penguiflow/state.db`.

    The file is opened when something is to be kept or looked up: to load a flow, or to draw it, leaves nothing behind.
    """

    def __init__(self) -> None:
        self._store: SQLiteStateStore | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in _KEPT:
            raise AttributeError(name)

        async def call(*args: Any, **about: Any) -> Any:
            return await getattr(self._opened(), name)(*args, **about)

        return call

    def _opened(self) -> SQLiteStateStore:
        if self._store is None:
            home = os.environ.get("PENGUIFLOW_HOME") or Path(__file__).parent.parent / ".penguiflow"
            self._store = SQLiteStateStore(Path(home) / "state.db")
        return self._store
