"""Large payloads are kept beside the events, once for all that are equal: `{"type", "$artifact": "sha256:…", "bytes"}`.

They go with the events into one transaction, come back with them as if they had never been away, and are removed with
the last trace that refers to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from pydantic_core import from_json, to_json

from penguiflow.recording.events import EventRecord
from penguiflow.state.connection import Connection

__all__ = [
    "ADD_PAYLOAD",
    "ADD_REFERENCE",
    "INLINE_BYTES",
    "digest_of",
    "is_kept_elsewhere",
    "keep",
    "remove_orphans",
    "restore",
    "spill",
]

INLINE_BYTES = 256 * 1024
"""A payload whose JSON is larger is kept beside the events."""
_MARK = b'"$artifact":"sha256:'
ADD_PAYLOAD = "INSERT INTO payloads (hash, data) VALUES (?, ?) ON CONFLICT DO NOTHING"
ADD_REFERENCE = (
    "INSERT INTO trace_payloads (trace, payload) SELECT ?, id FROM payloads WHERE hash = ? ON CONFLICT DO NOTHING"
)
_ORPHANS = (
    "DELETE FROM payloads WHERE id IN"
    " (SELECT payload FROM trace_payloads AS mine WHERE trace = ? AND NOT EXISTS"
    " (SELECT 1 FROM trace_payloads AS other WHERE other.payload = mine.payload AND other.trace <> mine.trace))"
)


def spill(record: EventRecord, larger_than: int, payloads: dict[str, bytes]) -> EventRecord:
    """The event with references in place of its large payloads, which are added to `payloads` by their names."""
    data = from_json(record.data)
    if not isinstance(data, dict):
        return record
    parts = []
    for key, value in data.items():
        encoded = to_json(value)
        if len(encoded) > larger_than and isinstance(value, dict) and "type" in value and "value" in value:
            name = f"sha256:{sha256(encoded).hexdigest()}"
            payloads[name] = encoded
            encoded = to_json({"type": value["type"], "$artifact": name, "bytes": len(encoded)})
        parts.append(b"%b:%b" % (to_json(key), encoded))
    return record._replace(data=b"{%b}" % b",".join(parts))


def keep(connection: Connection, trace: int, payloads: dict[str, bytes]) -> None:
    """Store payloads of a trace, within a transaction."""
    for name, encoded in payloads.items():
        digest = digest_of(name)
        connection.execute(ADD_PAYLOAD, (digest, encoded))
        connection.execute(ADD_REFERENCE, (trace, digest))


def digest_of(name: str) -> bytes:
    """The sha256 by which a payload of this name is kept."""
    return bytes.fromhex(name.removeprefix("sha256:"))


def restore(connection: Connection, record: EventRecord) -> EventRecord:
    """The event with the payloads that were kept beside it."""
    if _MARK not in record.data:
        return record
    parts = []
    for key, value in from_json(record.data).items():
        encoded = _load(connection, value) or to_json(value)
        parts.append(b"%b:%b" % (to_json(key), encoded))
    return record._replace(data=b"{%b}" % b",".join(parts))


def remove_orphans(connection: Connection, traces: Iterable[int]) -> None:
    """Remove what only these traces refer to, within the transaction that removes them."""
    for trace in traces:
        connection.execute(_ORPHANS, (trace,))
        connection.execute("DELETE FROM trace_payloads WHERE trace = ?", (trace,))


def is_kept_elsewhere(data: bytes) -> bool:
    """Whether there may be a reference in stored events."""
    return _MARK in data


def _load(connection: Connection, value: Any) -> bytes | None:
    # What users write stands in a payload's `value`: with none, the reference is ours.
    if not isinstance(value, dict) or "value" in value:
        return None
    name = value.get("$artifact")
    if not isinstance(name, str):
        return None
    found = connection.execute("SELECT data FROM payloads WHERE hash = ?", (digest_of(name),)).fetchone()
    return None if found is None else bytes(found[0])
