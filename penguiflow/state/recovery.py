"""Closing the traces of writers that died."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from penguiflow.recording.events import EventRecord
from penguiflow.recording.payloads import encode_data
from penguiflow.state.batch import append_events
from penguiflow.state.chunks import unpack
from penguiflow.state.connection import Connection, transaction
from penguiflow.state.liveness import dead_writers
from penguiflow.state.rows import load_row

__all__ = ["close_trace", "closing_events", "recover"]


def recover(connection: Connection, died: Mapping[str, Any]) -> list[str]:
    """Close the running traces of writers that are gone; returns their ids, oldest first.

    `died` stands in each trace's `host.died`; with a `pid`, in those of that process alone. Several processes may do
    this at once: each trace is closed by one.
    """
    closed = []
    pid = died.get("pid")
    for writer in dead_writers(connection):
        process, seen = connection.execute("SELECT pid, seen FROM writers WHERE id = ?", (writer,)).fetchone() or (0, 0)
        about = died if pid is None or pid == process else {}
        rows = connection.execute(
            "SELECT trace_id FROM traces WHERE status = 'running' AND writer = ? ORDER BY started, id", (writer,)
        ).fetchall()
        for (trace_id,) in rows:
            if close_trace(connection, trace_id, about, writer=writer, seen=seen):
                closed.append(trace_id)
    return closed


def close_trace(
    connection: Connection, trace_id: str, died: Mapping[str, Any], *, writer: int, seen: float = 0.0
) -> bool:
    """Append `host.died`, an `interrupted` end for each open span, the trace's own last; False when it is not running.

    `seen` is when its writer gave its last sign of life (unix seconds), if that is known: see `closing_events`.
    """
    while True:
        # Read first: looking through a long trace must not keep other writers out.
        before = _position(connection, trace_id)
        if before is None or before[1:] != ("running", writer):
            return False
        last, spans = _open_spans(connection, trace_id)
        if last is None:
            return False
        with transaction(connection):
            # Whoever writes to the trace at the same time has done so, or waits from here on.
            connection.execute("UPDATE traces SET status = status WHERE trace_id = ?", (trace_id,))
            done = _position(connection, trace_id) == before
            if done and not spans:
                # It was claimed, and whoever did that died before writing anything.
                connection.execute("UPDATE traces SET status = 'interrupted' WHERE trace_id = ?", (trace_id,))
            elif done:
                row = load_row(connection, last, writer)
                row.logs = 1
                append_events(connection, row, list(closing_events(last, spans, died, seen=seen)))
        if done:
            return True


def _position(connection: Connection, trace_id: str) -> tuple[int, str, int] | None:
    row: tuple[int, str, int] | None = connection.execute(
        "SELECT events, status, writer FROM traces WHERE trace_id = ?", (trace_id,)
    ).fetchone()
    return row


def _open_spans(connection: Connection, trace_id: str) -> tuple[EventRecord | None, list[EventRecord]]:
    """The trace's last event, and the starts of spans without an end, in order."""
    spans: dict[str, EventRecord] = {}
    last = None
    rows = connection.execute(
        "SELECT first_seq, data FROM event_chunks WHERE trace = (SELECT id FROM traces WHERE trace_id = ?)"
        " ORDER BY last_seq",
        (trace_id,),
    )
    for first_seq, data in rows:
        chunk = unpack(data)
        for index, kind in enumerate(chunk.kinds):
            if kind.endswith(".start"):
                spans[chunk.spans[index]] = chunk.record(index, first_seq, trace_id)
            elif kind.endswith(".end"):
                spans.pop(chunk.spans[index], None)
        last = chunk.record(len(chunk.kinds) - 1, first_seq, trace_id)
    return last, list(spans.values())


def closing_events(
    last: EventRecord, spans: list[EventRecord], died: Mapping[str, Any], *, seen: float = 0.0
) -> Iterator[EventRecord]:
    """What is written behind the last event of a trace that did not come to its end.

    All of it carries the time of the death: that of `died["at"]` (unix seconds), else of the last sign of life, which
    is `seen` or the last event.
    """
    about = {"exit_code": None, "signal": None, "noticed": time.time(), **died}
    about.pop("pid", None)
    about.pop("at", None)
    later = max(0.0, died.get("at", seen) - last.ts)
    root = next((span for span in spans if span.parent_id is None), last)
    ends = sorted(spans, key=lambda span: (span.parent_id is None, -span.seq))
    found = [("host.died", "host", root, about)]
    found += [(span.kind.removesuffix("start") + "end", span.name, span, {"status": "interrupted"}) for span in ends]
    for position, (kind, name, span, data) in enumerate(found, start=1):
        yield last._replace(
            seq=last.seq + position,
            span_id=span.span_id,
            parent_id=span.parent_id,
            ts=last.ts + later,
            offset_ns=last.offset_ns + int(later * 1e9),
            kind=kind,
            name=name,
            data=encode_data(data),
        )
