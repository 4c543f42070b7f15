"""The store of a project: a file of its own, or a database that several processes and machines share."""

from __future__ import annotations

from penguiflow.state.database import DatabaseStore
from penguiflow.state.files import BUSY_TIMEOUT_S
from penguiflow.state.sqlite import SQLiteStateStore
from playground.project import Project

__all__ = ["has_store", "open_store"]


def has_store(project: Project) -> bool:
    """Whether there is a store already, as far as that can be told without asking anybody."""
    return project.store_address() is not None or project.database.exists()


def open_store(project: Project, *, read_only: bool = False, patience_s: float = BUSY_TIMEOUT_S) -> DatabaseStore:
    """The store of a project, to be closed by the caller. Raises `StoreError` and `ProjectError`.

    What is wrong with a server is told when it is asked something. `patience_s` is how long a file may be locked, or a
    server away, before that is an error.
    """
    address = project.store_address()
    if address is None:
        return SQLiteStateStore(project.database, read_only=read_only, patience_s=patience_s)
    from penguiflow.state.postgres import PostgresStateStore

    return PostgresStateStore(address, read_only=read_only, patience_s=patience_s, home=project.home)
