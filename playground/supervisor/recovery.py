"""After a worker's death: its traces do not stay open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from penguiflow.state.errors import StoreError, StoreNotWritable, StoreTooNew, StoreUnreadable
from penguiflow.state.files import BUSY_TIMEOUT_S
from playground.project import Project
from playground.storing import has_store, open_store
from playground.supervisor.process import Death

LEAVING_S = 0.5
"""How long a locked store is waited for where the worker was told to end: readers see that its runs are over."""
TRY_S = 1.0
"""How long one try waits: what a thread has begun cannot be called off, and nobody may be kept from leaving."""
PAUSE_S = 0.1
HOPELESS = (StoreNotWritable, StoreUnreadable, StoreTooNew)
"""What waiting does not mend."""


async def recover(project: Project, death: Death) -> list[str]:
    """Mark what dead workers left running as interrupted; gives the traces. A store that cannot be written is left.

    The caller's loop goes on meanwhile: what may wait for the disk, or for another program, is done in threads.
    """
    if not has_store(project):
        return []
    about = {"exit_code": death.exit_code, "signal": death.signal, "pid": death.pid, "at": death.at}
    loop = asyncio.get_running_loop()
    patience_s = LEAVING_S if death.expected else BUSY_TIMEOUT_S
    deadline = loop.time() + patience_s
    while True:
        try:
            return await _mark(project, about, patience_s=min(patience_s, TRY_S))
        except HOPELESS:
            return []
        except StoreError:  # another program has it locked
            if loop.time() >= deadline:
                return []
        await asyncio.sleep(PAUSE_S)


async def _mark(project: Project, about: dict[str, Any], *, patience_s: float) -> list[str]:
    store = await asyncio.to_thread(open_store, project, patience_s=patience_s)
    try:
        return await store.recover(about)
    finally:
        # That nothing can be written is told by `recover`.
        with contextlib.suppress(StoreError):
            await store.close()
