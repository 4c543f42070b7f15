"""After a worker's death: its traces do not stay open."""

from __future__ import annotations

from penguiflow.state.errors import StoreError
from penguiflow.state.files import BUSY_TIMEOUT_S
from penguiflow.state.sqlite import SQLiteStateStore
from playground.project import Project
from playground.supervisor.process import Death

LEAVING_S = 0.5
"""How long a locked store is waited for where the worker was told to end: readers see that its runs are over."""


async def recover(project: Project, death: Death) -> list[str]:
    """Mark what dead workers left running as interrupted; gives the traces. A store that cannot be written is left."""
    if not project.database.exists():
        return []
    try:
        patience_s = LEAVING_S if death.expected else BUSY_TIMEOUT_S
        store = SQLiteStateStore(project.database, patience_s=patience_s)
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
