"""The row of a trace: what lists show of it, and how a log is fitted in behind what is stored."""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from pydantic_core import from_json

from penguiflow.recording.events import EventRecord, is_shared, shared_root
from penguiflow.recording.facts import span_usage
from penguiflow.recording.text import clean_text
from penguiflow.state.connection import Connection
from penguiflow.state.liveness import SEVERAL

__all__ = [
    "INSERT_TRACE",
    "NEXT_ID",
    "SELECT_TRACES",
    "TRACE_COLUMNS",
    "UPDATE_TRACE",
    "TraceRow",
    "load_row",
    "load_rows",
    "preview",
    "read_rows",
]

PREVIEW_CHARS = 200
_PREVIEW_WINDOW = 2 * PREVIEW_CHARS
_ERROR_CHARS = 500
_NS = 1_000_000_000
_PAYLOAD_FIRST = b'{"payload":{"type":"'
_VALUE = b'","value":'
_BEHIND_VALUE = (b',"types":', b',"lost":', b',"repr":', b',"bytes":')
_REMEMBERED_PAYLOADS = 4
_MAX_REMEMBERED = 64
_MAX_REMEMBERED_BYTES = 1024

_COLUMNS = (
    "flow", "target", "status", "started", "updated", "ended", "duration_s", "version", "session", "epoch", "events",
    "error", "input", "output", "llm_calls", "tokens", "cost", "origin", "writer", "bytes",
)  # fmt: skip
SELECT_TRACES = " ".join(("SELECT trace_id, id,", ", ".join(_COLUMNS), "FROM traces WHERE trace_id"))
"""What `read_rows` reads; which of them follows."""
_SELECT_SOME = " ".join((SELECT_TRACES, "IN (SELECT value FROM json_each(?))"))
TRACE_COLUMNS = ("id", "trace_id", *_COLUMNS)
"""In the order of `INSERT_TRACE`."""
INSERT_TRACE = " ".join(("INSERT INTO traces (id, trace_id,", ", ".join(_COLUMNS), ") VALUES"))
"""Rows of id, trace id and `columns()` follow."""
NEXT_ID = "SELECT coalesce(max(id), 0) + 1 FROM traces"
"""For the row of another trace, within a transaction that keeps others out."""
UPDATE_TRACE = " ".join(("UPDATE traces SET", " = ?, ".join(_COLUMNS), "= ? WHERE id = ?"))
"""Takes `columns()` and the id."""

_remembered: dict[bytes, Mapping[str, Any]] = {}
_decoder = json.JSONDecoder()
_values = attrgetter(*_COLUMNS)


class TraceRow:
    """What a writer knows of a trace."""

    __slots__ = (
        *_COLUMNS, "trace_id", "id", "compared", "logs", "epoch_shift", "offset_shift", "prefix", "wants_input",
        "payloads", "roots",
    )  # fmt: skip

    def __init__(self, trace_id: str, record: EventRecord, writer: int) -> None:
        self.trace_id = clean_text(trace_id)
        self.id: int | None = None
        """None until it is inserted."""
        self.flow: str | None = None
        self.target: str | None = None
        self.status = "running"
        self.started = record.ts
        self.updated = record.ts
        self.ended: float | None = None
        self.duration_s: float | None = None
        self.version: str | None = None
        self.session: str | None = None
        self.epoch = record.epoch
        self.events = 0
        self.error: str | None = None
        self.input: str | None = None
        self.output: str | None = None
        self.llm_calls = 0
        self.tokens = 0
        self.cost: float | None = None
        """US dollars, of the calls whose price is known; None when it is of none."""
        self.origin: str | None = None
        self.writer = writer
        self.bytes = 0
        """Of its chunks."""
        self.compared: int | None = None
        """The `data_version` of the file at which the row was last the same as there."""
        # The log: how many are open, and what is added to its epochs, offsets and span ids.
        self.logs = 0
        self.epoch_shift = 0
        self.offset_shift = 0
        self.prefix = ""
        self.wants_input = True
        self.payloads: deque[bytes] | None = None
        self.roots: tuple[str, ...] = ()
        """The trace's own spans that are open, as far as this writer saw them begin."""

    def columns(self) -> tuple[Any, ...]:
        """Values of the row's columns."""
        values: tuple[Any, ...] = _values(self)
        return values

    def copy(self) -> TraceRow:
        """The same, to be changed and perhaps dropped."""
        twin = TraceRow.__new__(TraceRow)
        for name in TraceRow.__slots__:
            setattr(twin, name, getattr(self, name))
        if self.payloads is not None:
            twin.payloads = self.payloads.copy()
        return twin

    def begin(self, record: EventRecord, writer: int) -> None:
        """Take in a `trace.start`: of a new trace, or of one that is opened again."""
        shared = is_shared(record.data)
        if self.events and not shared and not self.logs:
            self.epoch_shift = self.epoch + 1 - record.epoch
            # A recorder that knows the trace goes on with its numbers; the spans of one that does not get a prefix.
            knows = record.seq == self.events
            self.prefix = "" if knows else f"{self.epoch + 1:x}."
            self.offset_shift = 0 if knows else max(0, int((record.ts - self.started) * _NS) - record.offset_ns)
        if self.events:
            self.ended = self.duration_s = self.error = None
        if shared:
            writer = SEVERAL
        else:
            self.logs += 1
        self.epoch = max(self.epoch, record.epoch + self.epoch_shift)
        self.status = "running"
        self.writer = writer
        data = _decoded(record.data)
        # What goes on where it was interrupted has its input already.
        self.wants_input = self.input is None or "resumed" not in data
        self.roots = (record.span_id,) if shared else (*self.roots, self.prefix + record.span_id)
        for name in ("flow", "target", "version", "session"):
            value = data.get(name)
            if value is not None:
                setattr(self, name, clean_text(str(value)))
        if isinstance(data.get("origin"), dict):
            mode = data.get("mode")
            self.origin = json.dumps({**data["origin"], "mode": mode} if isinstance(mode, str) else data["origin"])

    def share(self) -> None:
        """Several processes write it: what others have written is known from the row alone."""
        self.writer = SEVERAL
        self.logs = self.epoch_shift = self.offset_shift = 0
        self.prefix = ""
        self.wants_input = self.input is None
        self.roots = (shared_root(self.epoch),)

    def finish(self, record: EventRecord) -> None:
        """Take in a `trace.end`; while another log of the trace is open, the trace runs on."""
        self.logs = max(0, self.logs - 1)
        if self.logs:
            return
        self.roots = ()
        data = _decoded(record.data)
        self.status = str(data.get("status", "ok"))
        if data.get("paused") is not None and self.status == "ok":
            self.status = "paused"
        self.ended = record.ts
        self.duration_s = record.offset_ns / _NS
        self.error = _error_line(data.get("error"))
        if isinstance(data.get("version"), str):
            self.version = data["version"]

    def call(self, record: EventRecord) -> None:
        """Take in an `llm.end`."""
        data = _decoded(record.data)
        tokens, cost = span_usage(data)
        self.llm_calls += 1
        self.tokens += tokens
        if cost:
            self.cost = (self.cost or 0.0) + cost

    def message(self, record: EventRecord) -> None:
        """Take in a `message.enqueued`: the first from OpenSea is the input, the last to Rookery the output.

        Those of a playbook, whose spans are further down, are neither.
        """
        name, data = record[8], record[9]
        carries = data.startswith(_PAYLOAD_FIRST)
        if carries:
            if self.payloads is None:
                self.payloads = deque(maxlen=_REMEMBERED_PAYLOADS)
            self.payloads.append(data)
        if self.wants_input and name.startswith("OpenSea->") and record.parent_id is None:
            self.wants_input = False
            if carries:
                self.input = _preview(data)
        if name.endswith("->Rookery") and self._is_outer(record):
            if not carries:
                carrier = self._carrier(data)
                if carrier is None:
                    return
                data = carrier
            self.output = _preview(data)

    def hop(self, record: EventRecord) -> None:
        """As `message`, of a hop that sent something, or of a message from outside."""
        told: Any = record[9]
        _, way, root, _, _, payload, _ = told
        if self.wants_input and way.node is None and way.edge.startswith("OpenSea->"):
            self.wants_input = False
            self.input = _preview(payload)
        if way.sent_by.endswith("->Rookery") and (not self.roots or root in self.roots):
            self.output = _preview(payload)

    def _is_outer(self, record: EventRecord) -> bool:
        return not self.roots or record.span_id in self.roots or record.parent_id in self.roots

    def _carrier(self, data: bytes) -> bytes | None:
        if b'"same_as":' not in data:
            return None
        same_as = _decoded(data).get("same_as")
        if not isinstance(same_as, str):
            return None
        mark = b'"message_id":"%b"' % same_as.encode()
        return next((payload for payload in reversed(self.payloads or ()) if mark in payload), None)

    def fit(self, record: EventRecord) -> EventRecord:
        """The record as it follows what is stored."""
        if self.writer == SEVERAL:
            # Clocks of machines differ: nothing is before the beginning.
            offset_ns = max(0, round((record.ts - self.started) * _NS))
            return record._replace(seq=self.events, offset_ns=offset_ns)
        return record._replace(
            seq=self.events,
            epoch=record.epoch + self.epoch_shift,
            span_id=self.prefix + record.span_id,
            parent_id=None if record.parent_id is None else self.prefix + record.parent_id,
            offset_ns=record.offset_ns + self.offset_shift,
        )


def load_rows(connection: Connection, records: Sequence[EventRecord], writer: int) -> dict[str, TraceRow]:
    """The stored rows of the traces that these events belong to, by trace id, as far as there are any."""
    wanted = {clean_text(record.trace_id): record for record in records}
    return read_rows(connection.execute(_SELECT_SOME, (json.dumps(list(wanted)),)), wanted, writer)


def load_row(connection: Connection, record: EventRecord, writer: int) -> TraceRow:
    """The stored row of the trace that an event belongs to. Raises `KeyError` when there is none."""
    trace_id = clean_text(record.trace_id)
    found = connection.execute(f"{SELECT_TRACES} = ?", (trace_id,))
    return read_rows(found, {trace_id: record}, writer)[trace_id]


def read_rows(found: Iterable[Sequence[Any]], wanted: Mapping[str, EventRecord], writer: int) -> dict[str, TraceRow]:
    """What `SELECT_TRACES` found, by trace id; `wanted` has an event of each."""
    rows: dict[str, TraceRow] = {}
    for trace_id, row_id, *values in found:
        row = rows[trace_id] = TraceRow(trace_id, wanted[trace_id], writer)
        row.id = row_id
        for name, value in zip(_COLUMNS, values, strict=True):
            setattr(row, name, value)
    return rows


def _decoded(data: bytes) -> Mapping[str, Any]:
    """An event's data; not to be changed, because most traces of a flow begin and end alike."""
    known = _remembered.get(data)
    if known is None:
        value = from_json(data)
        known = value if isinstance(value, dict) else {}
        if len(data) <= _MAX_REMEMBERED_BYTES:
            if len(_remembered) >= _MAX_REMEMBERED:
                _remembered.clear()
            _remembered[data] = known
    return known


def _error_line(error: Any) -> str | None:
    if not error:
        return None
    if not isinstance(error, dict):
        text = str(error)
    else:
        kind = error.get("exception_type") or error.get("type") or error.get("code") or ""
        message = str(error.get("message") or "")
        text = f"{kind}: {message}" if kind and message else f"{kind or message}"
    lines = text.strip().splitlines() or [""]
    return clean_text(lines[0][:_ERROR_CHARS])


def preview(payload: bytes) -> str:
    """What lists show of a payload, which they are given alone."""
    start = payload.find(_VALUE) + len(_VALUE)
    if len(payload) - start > PREVIEW_CHARS or start < len(_VALUE):
        return _preview(payload)
    # What stands behind the value has one of these names.
    for mark in _BEHIND_VALUE:
        if mark in payload:
            return _preview(payload)
    return payload[start:-1].decode()


@functools.lru_cache(maxsize=4)
def _preview(data: bytes) -> str:
    """The beginning of a payload's value. The payload stands first in the data, and its type has no bare quote."""
    start = data.find(_VALUE) + len(_VALUE)
    window = data[start : start + _PREVIEW_WINDOW].decode("utf-8", "ignore")
    try:
        end = _decoder.raw_decode(window)[1]
    except (ValueError, RecursionError):  # it is longer than the window
        end = len(window)
    return window[:end] if end <= PREVIEW_CHARS else window[:PREVIEW_CHARS] + "…"
