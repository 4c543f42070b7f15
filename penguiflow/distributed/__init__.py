"""A flow whose nodes run in workers: messages on a bus, memory in a store, callers anywhere.

`create(..., message_bus=bus, state_store=store)` with an `EdgeBus` makes a caller of the process that runs the flow; a
`Worker` (or `pf worker`) somewhere runs its nodes.
"""

from __future__ import annotations

from penguiflow.distributed.names import edges_of
from penguiflow.distributed.worker import Worker

__all__ = ["Worker", "edges_of"]
