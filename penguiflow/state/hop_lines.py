"""Hops in a stored piece: what follows from the one before is not repeated.

A hop begins with the message that the one before has sent, and most send the payload on in the envelope that it came
in. A hop is then a line with its node, the edge and the id of what it sent, and its times. The piece's first line has
one more member, the form:

    ["hops", seq of the first event, epoch, the trace's span, microseconds, nanoseconds, order]

The lines count from both times. `order` has a character for each entry of the piece: `.` for an event in columns, else
that of the hop's kind. Lines of hops follow those of the events. They have three parts, with a separator that no JSON
holds: members of a JSON array, the payload, and the envelope (`=` for those of the hop before). The members are

    [edge, message id, node, node id, edge of what was sent, its id, microseconds, nanoseconds, how many it took]

The first two are left out where they are what was sent before, the node is null where the edge names it, the edge of
what was sent is null where nothing was, and of a message from outside there is no node:
`[edge, message id, microseconds, nanoseconds, 0]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.hops import EVENTS_OF, SENT, Told, Way, events_of

__all__ = ["HOPS", "MARKS", "HopForm", "take_hops", "weave_hops"]

HOPS = "hops"
HopForm = list[Any]
_IN_COLUMNS = "."
MARKS = {kind: kind.partition(".")[2][0] for kind in EVENTS_OF}
MARKS["hop.on"] = "n"
_KINDS = {mark: kind for kind, mark in MARKS.items()}
_SAME = b"="
_SEPARATOR = b"\x1f"
_SENT = b"%b%d,%d,%d\x1f%b\x1f%b"
_SENT_THE_SAME = b"%b%d,%d,%d\x1f=\x1f="
_LONG, _SHORT, _FROM_OUTSIDE = 9, 7, 5
_MAX_NUMBER = 10**18

Columns = Sequence[Sequence[Any]]


def take_hops(records: Sequence[EventRecord]) -> tuple[list[EventRecord], HopForm, list[bytes]] | None:
    """Take hops out: the other events, the form, and the lines; None where they are of several logs."""
    others: list[EventRecord] = []
    lines: list[bytes] = []
    epoch = records[0][1]
    root: str | None = None
    micros = nanos = 0
    edge: str | None = None
    message_id = ""
    payload = envelope = b""
    for record in records:
        data: Any = record[9]
        if type(data) is bytes:
            others.append(record)
            continue
        _, way, of_root, began, elapsed_ns, its_payload, its_envelope = data
        if root is None:
            root, micros, nanos = of_root, began, record[6]
        if of_root != root or record[1] != epoch:
            return None
        members = way.short if way.message_id == message_id and way.edge == edge else way.long
        times = (members, began - micros, record[6] - nanos, elapsed_ns)
        if way.sent_by is None:
            lines.append(_SENT_THE_SAME % times)
            continue
        if its_payload == payload and its_envelope == envelope:
            lines.append(_SENT_THE_SAME % times)
        else:
            told = _SAME if its_payload == payload else its_payload
            lines.append(_SENT % (*times, told, _SAME if its_envelope == envelope else its_envelope))
            payload, envelope = its_payload, its_envelope
        edge, message_id = way.sent_by, way.sent_id
    order = "".join([MARKS.get(record[7], _IN_COLUMNS) for record in records])
    return others, [HOPS, records[0][0], epoch, root, micros, nanos, order], lines


def weave_hops(columns: Columns, form: HopForm, lines: Sequence[bytes]) -> Columns:
    """All columns again, the events of hops one by one.

    Raises `ValueError`, `TypeError`, `KeyError` or `IndexError` for what `take_hops` never made.
    """
    _, seq, epoch, root, micros, nanos, order = form
    if not all(map(isinstance, (root, order, seq, epoch, micros, nanos), (str, str, int, int, int, int))):
        raise TypeError("no beginning")
    rows = list(zip(*columns, strict=True))
    if len(rows) != order.count(_IN_COLUMNS) or len(lines) != len(order) - len(rows):
        raise ValueError("order and lines differ")
    others = iter(rows)
    hops = _read(lines, order, root, (micros, nanos))
    events: list[tuple[Any, ...]] = []
    for mark in order:
        if mark == _IN_COLUMNS:
            events.append(next(others))
            seq += 1
            continue
        offset_ns, told = next(hops)
        kind = _KINDS[mark]
        events += [(event[1], *event[3:]) for event in events_of((seq, epoch, "", root), offset_ns, kind, told)]
        seq += EVENTS_OF[kind]
    return list(zip(*events, strict=True))


def _read(lines: Sequence[bytes], order: str, root: str, start: tuple[int, int]) -> Iterator[tuple[int, Told]]:
    """Offset and hop of each line."""
    edge, message_id = "", ""
    payload = envelope = b""
    marks = [mark for mark in order if mark != _IN_COLUMNS]
    for mark, line in zip(marks, lines, strict=True):
        head, its_payload, its_envelope = line.split(_SEPARATOR)
        about = from_json(b"[%b]" % head)
        if len(about) != (_FROM_OUTSIDE if _KINDS[mark] == SENT else _LONG):
            if len(about) != _SHORT:
                raise ValueError(f"a hop of {len(about)} members")
            about = [edge, message_id, *about]
        *texts, micros, nanos, elapsed_ns = about
        if not all(type(number) is int and abs(number) < _MAX_NUMBER for number in (micros, nanos, elapsed_ns)):
            raise TypeError("a hop without times")
        if not all(text is None or isinstance(text, str) for text in texts):
            raise TypeError("a hop without text")
        way = _way(texts)
        if way.sent_by is not None:
            edge, message_id = way.sent_by, way.sent_id
            payload = payload if its_payload == _SAME else its_payload
            envelope = envelope if its_envelope == _SAME else its_envelope
        told = Told(0, way, root, start[0] + micros, elapsed_ns, payload, envelope)
        yield start[1] + nanos, told


def _way(texts: Sequence[Any]) -> Way:
    edge, message_id, *through = texts
    if edge is None or message_id is None:
        raise TypeError("a hop from nowhere")
    if not through:
        return Way(edge, message_id, None, "", None, "")
    node, node_id, sent_by, sent_id = through
    if node_id is None or sent_id is None:
        raise TypeError("a hop through nothing")
    return Way(edge, message_id, edge.partition("->")[2] if node is None else node, node_id, sent_by, sent_id)
