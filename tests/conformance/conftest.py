"""One fixture for each backend, under the id that its tests carry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penguiflow.state import SQLiteStateStore

Open = Callable[[], SQLiteStateStore]
"""Opens the same store once more."""


@pytest.fixture(params=["sqlite"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[SQLiteStateStore] = []

    def open_sqlite() -> SQLiteStateStore:
        opened.append(SQLiteStateStore(tmp_path / "state.db"))
        return opened[-1]

    yield {"sqlite": open_sqlite}[request.param]
    for store in opened:
        await store.close()


@pytest.fixture
def store(open_store: Open) -> SQLiteStateStore:
    return open_store()
