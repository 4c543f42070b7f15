"""One replay: from a recorded trace to how it went this time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from penguiflow import Message
from penguiflow.recording.cassette import KINDS, Cassette, CassetteError
from penguiflow.recording.offline import Offline
from penguiflow.recording.replay import NotReplayable, Replay, SpanNotFound, replay_running
from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreError
from playground.again import ReplayOrder, ReplayReport
from playground.host.runs import STATUSES, jsonable
from playground.loader.runnable import Runnable
from playground.protocol import Result


async def perform_replay(
    runnable: Runnable,
    order: ReplayOrder,
    trace_id: str,
    store: DatabaseStore | None,
    annotate: Callable[[str, Mapping[str, Any]], None],
    watched: Offline | None = None,
) -> Result:
    """Replay a trace of the store under a new id. Raises nothing but `CancelledError`.

    `watched` has seen all that the project's code did since it was loaded; without it the replay alone counts.
    """
    report = ReplayReport(origin=order.trace_id)
    result = Result(trace_id=trace_id, status="error", replay=report)
    try:
        cassette = await _cassette(order, store)
        went = await replay_running(
            runnable.flow, cassette, trace_id=trace_id, live_after=order.live_after, annotate=annotate
        )
    except (NotReplayable, SpanNotFound, StoreError, CassetteError) as refusal:
        report.refused = str(refusal)
    except Exception as failure:  # validators, and what a payload does when it is made again, are user code
        report.refused = f"{type(failure).__name__}: {failure}"
    else:
        _tell(went, result, report)
        seen = watched or went
        report.blocked = [blocked._asdict() for blocked in seen.blocked]
        report.started = [started._asdict() for started in seen.started]
    return result


async def _cassette(order: ReplayOrder, store: DatabaseStore | None) -> Cassette:
    if order.file is not None:
        return Cassette.load(order.file)
    if store is None:
        raise NotReplayable(order.trace_id, "this host has no store")
    return Cassette.of(await store.load_events(order.trace_id, kinds=KINDS))


def _tell(went: Replay, result: Result, report: ReplayReport) -> None:
    report.answered, report.made, report.difference = went.answered, went.made, went.difference
    last = went.outputs[-1] if went.outputs else None
    result.output = jsonable(last.payload if isinstance(last, Message) else last)
    if went.diverged is not None:
        report.diverged = jsonable(went.diverged.to_payload())
        result.status = "cancelled"
        result.error = {"code": "REPLAY_DIVERGED", "message": went.diverged.headline}
    elif went.error is None:
        result.status = "ok"
    else:
        result.status = "ok" if went.status == "ok" else STATUSES.get(went.error.code, "error")
        result.error = jsonable(went.error.to_payload())
