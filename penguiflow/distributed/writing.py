"""One trace, written by the process that calls and by workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penguiflow.channels import Floe
    from penguiflow.distributed.header import Fault, Header
    from penguiflow.observer import TraceLog

__all__ = ["Writing"]


class Writing:
    """What a process writes of traces that others write, too; nothing where the store keeps no events."""

    def __init__(self, store: Any, name: str, worker_id: str) -> None:
        self._store = store
        self._name = name
        self._worker_id = worker_id

    async def begin(self, header: Header) -> Header:
        """Begin the log of a trace; the header tells workers where it is."""
        return header

    def sent(self, header: Header, floes: Sequence[Floe], ids: Sequence[str], message: Any) -> None:
        """Write that a message was sent in, by these edges and under these ids."""

    def join(self, header: Header) -> TraceLog | None:
        """The log of a trace that was begun elsewhere."""
        return None

    async def close(self, header: Header, status: str, fault: Fault) -> None:
        """Write the end of a trace."""

    async def flush(self) -> None:
        """Return once all that was written is committed."""
