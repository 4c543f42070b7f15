"""Which of several workers had a message, how long that had waited, and what a join has: told in few cells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from playground.dashboard.heads import BadEvent
from playground.dashboard.text import Row, cells, clip, duration, one_line, row_cells

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span
    from playground.dashboard.trace import TraceModel

__all__ = ["Crew", "WorkerNames", "counted", "short_names"]

WAITED_S = 0.01
"""A message that waited longer has its wait in the row."""
TIMES = "\N{MULTIPLICATION SIGN}"
LOOK_AHEAD = 500
"""Events after a message was taken among which it may be told that it was sent: several processes write them."""
LEFT = 13
"""Cells that are left to what else there is to say."""
_SHORTEST, _LONGEST = 4, 8
_COUNTED = re.compile(r"(\d+) of (\d+) messages came")


def short_names(workers: Iterable[str]) -> dict[str, str]:
    """As few letters of each as tell them apart: of their beginnings, or of their ends."""
    shown = {worker: one_line(worker) for worker in workers}
    for length in range(_SHORTEST, _LONGEST + 1):
        short = {worker: name[:length] for worker, name in shown.items()}
        if len(set(short.values())) == len(short):
            return short
    ends = {worker: name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}" for worker, name in shown.items()}
    if len(set(ends.values())) == len(ends):
        return ends
    return {worker: clip(name, 2 * _LONGEST) for worker, name in shown.items()}


class WorkerNames:
    """Short names of those who have worked on a trace; they grow as more of them do."""

    def __init__(self) -> None:
        self._trace_id, self._count = "", 0
        self._names: dict[str, str] = {}

    def of(self, trace: TraceModel, worker: str) -> str:
        """The name of one of them."""
        workers = (trace.whole or trace).workers
        if self._trace_id != trace.trace_id or self._count != len(workers):
            self._trace_id, self._count, self._names = trace.trace_id, len(workers), short_names(workers)
        return self._names.get(worker) or clip(one_line(worker), _LONGEST)


def counted(hold: str) -> tuple[int, int] | None:
    """How many messages a join has, and how many it waits for, as it says itself."""
    found = _COUNTED.search(hold)
    return None if found is None else (int(found[1]), int(found[2]))


class Crew:
    """What rows say of the workers of a trace."""

    def __init__(self) -> None:
        self.names = WorkerNames()
        self._trace_id = ""
        self._senders: dict[str, Span] = {}

    def several(self, trace: TraceModel) -> bool:
        """Whether more than one has worked on it."""
        return len((trace.whole or trace).workers) > 1

    def told(self, trace: TraceModel, span: Span, extra: str, room: int) -> Row:
        """Delivery, wait and worker, as far as there is room for them beside `extra`; empty in a single process."""
        if span.kind != "node" or span.worker_id is None:
            return []
        waited_s = span.queue_wait_s or 0.0
        again = (f"{TIMES}{span.delivery}", "warn") if span.delivery is not None and span.delivery > 1 else None
        waited = (f"░{duration(waited_s)}", "dim") if waited_s > WAITED_S else None
        who = (self.names.of(trace, span.worker_id), "accent") if self.several(trace) else None
        left = room - (2 + min(cells(extra), LEFT) if extra else 0)
        for some in ((again, waited, who), (again, who), (again,)):
            row: Row = []
            for piece in some:
                if piece is not None:
                    row += [(" ", ""), piece] if row else [piece]
            if row_cells(row) + 2 <= left:
                return row
        return []

    def part(self, trace: TraceModel, span: Span) -> list[str]:
        """Of a join that others send to: the how many-th message it was, and who had sent it; the longest text first.

        Empty for other spans.
        """
        whole = trace.whole or trace
        if span.kind != "node" or span.worker_id is None or span.name not in whole.joins:
            return []
        wanted = whole.joins[span.name]
        # Who keeps nothing had what the others had kept.
        count = whole.holds.get(span.span_id, wanted if span.status == "ok" else None)
        number = "" if count is None else f"{count} of {wanted} "
        sender = self._sender(whole, span)
        if sender is None:
            return [number.rstrip()] if number else []
        who = "" if sender.worker_id is None else self.names.of(trace, sender.worker_id)
        return [f"{number}← {one_line(sender.name)} {who}".rstrip(), f"{number}← {who or one_line(sender.name)}"]

    def _sender(self, trace: TraceModel, span: Span) -> Span | None:
        if trace.trace_id != self._trace_id:
            self._trace_id, self._senders = trace.trace_id, {}
        found = self._senders.get(span.span_id)
        if found is None and span.input_id is not None:
            before = trace.position(span.start_seq) + LOOK_AHEAD
            try:
                message = trace.find_message(span.input_id, before=before)
            except BadEvent:
                message = None
            found = None if message is None else trace.spans.get(message[0].span_id)
            if found is not None:
                self._senders[span.span_id] = found
        return found
