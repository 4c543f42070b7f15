"""The project's store, as commands use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from penguiflow.state.errors import StoreError
from penguiflow.state.sqlite import SQLiteStateStore
from playground.project import Project, find_project

__all__ = ["close_abandoned", "reading"]


@asynccontextmanager
async def reading() -> AsyncIterator[SQLiteStateStore]:
    """The store of the project around the working directory. A project without one has no traces; none is made."""
    store = SQLiteStateStore(find_project().database, read_only=True)
    try:
        yield store
    finally:
        await store.close()


async def close_abandoned(project: Project) -> None:
    """Mark what dead processes left running as interrupted, as far as the store can be written."""
    with suppress(StoreError):
        store = SQLiteStateStore(project.database)
        try:
            await store.recover()
        finally:
            await store.close()
