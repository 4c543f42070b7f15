"""What a join of a distributed flow has: its parts come to several workers, and were sent by several."""

from __future__ import annotations

from collections.abc import Sequence

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.spans import Span
from playground.dashboard.text import one_line
from playground.dashboard.workers import counted, short_names

__all__ = ["Joins"]


class Joins:
    """Takes what nodes keep (`context.changed`), then what was sent to them (`message.enqueued`)."""

    def __init__(self) -> None:
        self.wanted: dict[str, int] = {}
        """Nodes that have kept messages: how many they wait for."""
        self._counts: dict[str, int] = {}
        """By the span that took a message and kept it: how many it had then."""
        self._senders: dict[str, tuple[str, str | None]] = {}
        """By message: the node and the worker that sent it."""

    def add(self, event: TraceEvent) -> None:
        """Take an event; others than those are left out."""
        if event.kind == "context.changed":
            hold = event.data.get("hold")
            if isinstance(hold, str) and (count := counted(hold)) is not None:
                self._counts[event.span_id], self.wanted[event.name] = count
        elif event.kind == "message.enqueued":
            source, _, target = event.name.rpartition("->")
            if target in self.wanted:
                self._senders[str(event.data.get("message_id"))] = source, event.worker_id

    def parts(self, roots: Sequence[Span]) -> dict[str, str]:
        """By the span that took it: the how many-th message of a join it was, and who had sent it."""
        nodes = [span for root in roots for span in root.children if span.kind == "node"]
        short = short_names(dict.fromkeys(span.worker_id for span in nodes if span.worker_id is not None))
        parts: dict[str, str] = {}
        for span in nodes:
            wanted = self.wanted.get(span.name)
            if wanted is None:
                continue
            # Who keeps nothing had what the others had kept.
            count = self._counts.get(span.span_id, wanted if span.status == "ok" else None)
            told = [] if count is None else [f"{count} of {wanted}"]
            if (sender := self._senders.get(span.input_id or "")) is not None:
                node, worker = sender
                told.append(f"← {one_line(node)} {'' if worker is None else short.get(worker, worker)}".rstrip())
            if told:
                parts[span.span_id] = " ".join(told)
        return parts
