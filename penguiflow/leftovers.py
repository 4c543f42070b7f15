"""Messages that were sent before `run`, left behind by `stop`, or put on an edge by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penguiflow.channels import OPEN_SEA, ROOKERY, Item
from penguiflow.context import Context, Port

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.traces import Trace

__all__ = ["adopt", "adopted", "rests"]


def adopt(flow: PenguiFlow) -> None:
    """Give each message that waits a trace of this run, and an event in its log."""
    for port in flow._ports.values():
        items = port.inbox.items
        for _ in range(len(items)):
            item = items.popleft()
            trace = item[3]
            if trace is not None and trace.cancelled:
                item[0].release()
                continue
            if trace is not None and (told := flow._table.sinks.get(trace.id)) is not None and not told.results:
                del flow._table.sinks[trace.id]  # that it was stopped is not the last word: it goes on
            items.append(adopted(item, port, flow))
    for trace in list(flow._table.traces.values()):
        rests(trace, flow)


def rests(trace: Trace, flow: PenguiFlow) -> None:
    """A trace of which only results are left is over."""
    if trace.idle and not trace.ended:
        flow._table.finish(trace)


def adopted(item: Item, port: Port, flow: PenguiFlow) -> Item:
    """A message that waits for the owner of `port`, counted for its trace."""
    floe, message, payload, trace, message_id = item
    table = flow._table
    if trace is None or table.traces.get(trace.id) is not trace:
        trace = table.of(message, None)
        if trace is not None and port.owner is ROOKERY:
            trace.parked += 1
        elif trace is not None:
            trace.queued += 1
    elif table.recorder is not None and trace.log is None:
        trace.record(table.recorder.open(str(trace.id)))
    if trace is not None and trace.log is not None:
        sender = Context._of(flow._ports[floe.source or OPEN_SEA])
        sender._ordinal = trace.submissions
        trace.submissions += 1
        message_id = sender._log_put(floe, message, payload, trace, None)
    return floe, message, payload, trace, message_id
