"""Messages that were sent before `run`, or left behind by `stop`."""

from __future__ import annotations

from collections.abc import Mapping

from penguiflow.channels import OPEN_SEA, ROOKERY, Endpoint
from penguiflow.context import Context, Port
from penguiflow.node import Node
from penguiflow.traces import TraceTable

__all__ = ["adopt"]


def adopt(ports: Mapping[Node | Endpoint, Port], table: TraceTable) -> None:
    """Give each of them a trace of this run, and an event in its log."""
    for port in ports.values():
        items = port.inbox.items
        for _ in range(len(items)):
            floe, message, payload, trace, message_id = items.popleft()
            if trace is not None and trace.cancelled:
                floe.release()
                continue
            if trace is None or table.traces.get(trace.id) is not trace:
                trace = table.of(message, None)
                if trace is not None and port.owner is ROOKERY:
                    trace.parked += 1
                elif trace is not None:
                    trace.queued += 1
            elif table.recorder is not None and trace.log is None:
                trace.log = table.recorder.open(trace.id)
            if trace is not None and trace.log is not None:
                sender = Context._of(ports[floe.source or OPEN_SEA])
                sender._ordinal = trace.submissions
                trace.submissions += 1
                message_id = sender._log_put(floe, message, payload, trace, None)
            items.append((floe, message, payload, trace, message_id))
