"""What a span did with its time: it lay in a queue, it waited, it worked, it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from playground.dashboard.heads import BadEvent, read_data, read_head
from playground.dashboard.text import NS
from playground.dashboard.trace import TraceModel, failed

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span

QUEUED, WAITING, RUNNING, LIVE, FAILED = "queued", "waiting", "running", "live", "failed"
MAX_ATTEMPTS = 200
"""Of one span that are told apart; what came before them is one failure."""
LOOK_BACK = 4000
"""Events before the start of a node among which its message is looked for."""
WAITS = frozenset({"join"})
"""Kinds of spans in which nothing works: they wait for what is still to come."""


class Piece(NamedTuple):
    """A part of a span's time, in nanoseconds since the trace began."""

    start_ns: int
    end_ns: int
    state: str


class Queueing:
    """When the message of a node was put into its queue; looked for once, and only when the node is in sight."""

    def __init__(self) -> None:
        self._trace_id = ""
        self._known: dict[str, int | None] = {}

    def since(self, trace: TraceModel, span: Span) -> int | None:
        """Nanoseconds since the trace began, or None: no message, or it was sent long before."""
        if span.kind == "node" and span.queue_wait_s is not None:
            return max(span.start_ns - int(span.queue_wait_s * NS), 0)  # a worker says it itself
        if span.input_id is None or span.kind != "node":
            return None
        if trace.trace_id != self._trace_id:
            self._trace_id, self._known = trace.trace_id, {}
        if span.span_id not in self._known:
            self._known[span.span_id] = _sent_at(trace, span.input_id, trace.position(span.start_seq))
        return self._known[span.span_id]


def _sent_at(trace: TraceModel, message_id: str, before: int) -> int | None:
    needle = f'"{message_id}"'.encode()
    for index in range(before - 1, max(before - LOOK_BACK, 0) - 1, -1):
        raw = trace.events[index]
        if needle in raw and b'"message.enqueued"' in raw[:400]:
            try:
                if read_data(raw).get("message_id") == message_id:
                    return read_head(raw).offset_ns
            except BadEvent:
                continue
    return None


def pieces(trace: TraceModel, span: Span, queued_at: int | None = None) -> list[Piece]:
    """The parts of a span's time, in order."""
    now = trace.now_ns()
    end = max(now if span.end_ns is None else span.end_ns, span.start_ns)
    found: list[Piece] = []
    if queued_at is not None and queued_at < span.start_ns:
        found.append(Piece(queued_at, span.start_ns, QUEUED))
    attempts = [child for child in span.children[-MAX_ATTEMPTS:] if child.kind == "attempt"]
    if span.kind == "node" and attempts:
        found += _of_attempts(span, attempts, now)
        last = found[-1]
        if last.end_ns < end:
            state = WAITING if failed(attempts[-1]) and not failed(span) else _state(span)
            if state == last.state:
                found.pop()
            found.append(Piece(last.start_ns if state == last.state else last.end_ns, end, state))
    elif span.span_id in trace.retried:
        found += _of_retries(span, trace.retried[span.span_id][-MAX_ATTEMPTS:], end)
    else:
        found.append(Piece(span.start_ns, end, _state(span)))
    return found


def _state(span: Span) -> str:
    if failed(span):
        return FAILED
    if span.kind in WAITS:
        return WAITING
    return LIVE if span.end_ns is None else RUNNING


def _of_attempts(span: Span, attempts: list[Span], now: int) -> list[Piece]:
    found: list[Piece] = []
    last = span.start_ns
    for attempt in attempts:
        if attempt.start_ns > last:
            # Before the oldest attempt that is told apart there were others, which failed.
            found.append(Piece(last, attempt.start_ns, WAITING if found else FAILED if attempt.attempt else RUNNING))
        last = max(now if attempt.end_ns is None else attempt.end_ns, attempt.start_ns)
        found.append(Piece(attempt.start_ns, last, _state(attempt)))
    return found


def _of_retries(span: Span, retries: list[tuple[int, float]], end: int) -> list[Piece]:
    found: list[Piece] = []
    last = span.start_ns
    for failed_ns, sleep_s in retries:
        broke = min(max(failed_ns, last), end)
        found.append(Piece(last, broke, FAILED))
        last = min(broke + int(sleep_s * NS), end)
        if last > broke:
            found.append(Piece(broke, last, WAITING))
    if last < end or span.end_ns is None or failed(span):
        found.append(Piece(last, end, _state(span)))
    return found


def totals(found: list[Piece]) -> dict[str, int]:
    """Nanoseconds by state."""
    sums: dict[str, int] = {}
    for piece in found:
        sums[piece.state] = sums.get(piece.state, 0) + piece.end_ns - piece.start_ns
    return sums
