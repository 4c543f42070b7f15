"""Taking over an interrupted trace: of several who want to resume it, one does."""

from __future__ import annotations

from penguiflow.state.connection import Connection

__all__ = ["claim"]


def claim(connection: Connection, trace_id: str, events: int, *, writer: int) -> bool:
    """Have a writer go on with an interrupted trace of so many events; False when it is not that any more.

    A writer that dies before it has written anything leaves a running trace of a dead writer: interrupted again.
    """
    cursor = connection.execute(
        "UPDATE traces SET status = 'running', writer = ? WHERE trace_id = ? AND status = 'interrupted' AND events = ?",
        (writer, trace_id, events),
    )
    return cursor.rowcount == 1
