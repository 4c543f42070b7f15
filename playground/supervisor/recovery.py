"""After a worker's death: its traces do not stay open."""

from __future__ import annotations

from penguiflow.state.errors import StoreError
from penguiflow.state.sqlite import SQLiteStateStore
from playground.project import Project
from playground.supervisor.process import Death


async def recover(project: Project, death: Death) -> list[str]:
    """Mark what dead workers left running as interrupted; gives the traces. A store that cannot be written is left."""
    if not project.database.exists():
        return []
    try:
        store = SQLiteStateStore(project.database)
    except StoreError:
        return []
    try:
        return await store.recover(
            {"exit_code": death.exit_code, "signal": death.signal, "pid": death.pid, "at": death.at}
        )
    except StoreError:
        return []
    finally:
        await store.close()
