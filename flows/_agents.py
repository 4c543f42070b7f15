"""What the planners of this folder share: which model answers, and where they keep what they remember."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from penguiflow.llm.providers.base import Provider
from penguiflow.state.database import DatabaseStore
from penguiflow.state.sqlite import SQLiteStateStore

MODEL_VARIABLE = "PENGUIFLOW_FLOWS_MODEL"
"""Names a real model, as `openai/gpt-5-mini`; without it a scripted one answers."""
URL_VARIABLE = "PENGUIFLOW_FLOWS_MODEL_URL"
"""Where the model is, if that is not where its name says: the address of a server that speaks OpenAI's protocol."""
STORE_VARIABLE = "PENGUIFLOW_STORE"
"""Where the traces are kept, if not in the project's own file; `pf --store` sets it."""
ROOT = Path(__file__).parent.parent

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
    """Paused runs and memories, in the store that has the traces: by default the project's `.penguiflow/state.db`.

    It is opened when something is to be kept or looked up: to load a flow, or to draw it, leaves nothing behind.
    """

    def __init__(self) -> None:
        self._store: DatabaseStore | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in _KEPT:
            raise AttributeError(name)

        async def call(*args: Any, **about: Any) -> Any:
            return await getattr(self._opened(), name)(*args, **about)

        return call

    def _opened(self) -> DatabaseStore:
        if self._store is None:
            self._store = store_of_environment()
        return self._store


def store_of_environment() -> DatabaseStore:
    """The store that `PENGUIFLOW_STORE` names: a PostgreSQL server, or an SQLite file by its path or `sqlite:///path`.

    Raises `ValueError` when it is neither.
    """
    home = Path(os.environ.get("PENGUIFLOW_HOME") or ROOT / ".penguiflow").expanduser().absolute()
    address = os.environ.get(STORE_VARIABLE)
    if not address:
        return SQLiteStateStore(home / "state.db")
    if address.startswith(("postgresql://", "postgres://")):
        from penguiflow.state.postgres import PostgresStateStore

        return PostgresStateStore(address, home=home)
    path = address.removeprefix("sqlite:///")
    if "://" in path:
        raise ValueError(f"{STORE_VARIABLE} is no address of a store: give postgresql://… or sqlite:///FILE")
    return SQLiteStateStore(ROOT / path)
