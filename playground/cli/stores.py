"""The project's store, opened for reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penguiflow.state.sqlite import SQLiteStateStore

from playground.project import find_project

__all__ = ["reading"]


@asynccontextmanager
async def reading() -> AsyncIterator[SQLiteStateStore]:
    """The store of the project around the working directory. A project without one has no traces; none is made."""
    store = SQLiteStateStore(find_project().database, read_only=True)
    try:
        yield store
    finally:
        await store.close()
