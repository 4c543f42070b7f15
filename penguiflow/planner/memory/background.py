"""Summaries are written when a run is over; where its trace is kept, a short one of their own tells of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from penguiflow.ids import new_id
from penguiflow.llm.wire import call_about, dump_request, dump_response
from penguiflow.observer import Payload, TraceLog

if TYPE_CHECKING:
    from penguiflow.llm.calls import AskPolicy
    from penguiflow.llm.errors import LLMError
    from penguiflow.llm.providers.base import Provider
    from penguiflow.llm.types import CompletionResponse, LLMRequest
    from penguiflow.planner.run import PlannerRun

__all__ = ["SummaryTrace", "ask_for_summary", "caused_by", "summary_trace"]

logger = logging.getLogger("penguiflow.planner")

SESSION_TIMEOUT_S = 5.0
"""For asking the store which session the run belongs to."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """The turn that made a summary necessary."""

    recorder: Any
    """Of its run; it has a store."""
    planner: str
    key: str
    """Of the memory."""
    trace_id: str
    session: str | None


_turn: ContextVar[_Turn | None] = ContextVar("memory_turn", default=None)
_trace: ContextVar[SummaryTrace | None] = ContextVar("memory_trace", default=None)


@contextmanager
def caused_by(run: PlannerRun, key: str) -> Iterator[None]:
    """What is put into the background within is on account of a turn of this run, if a store keeps its trace."""
    context = run.site.context
    runtime = None if context is None or not run.site.recorded else context.runtime
    recorder = None if runtime is None else runtime._table.recorder
    if getattr(recorder, "store", None) is None or run.trace_id is None:
        token = _turn.set(None)
    else:
        token = _turn.set(_Turn(recorder, run.settings.name, key, run.trace_id, run.session_id))
    try:
        yield
    finally:
        _turn.reset(token)


class SummaryTrace:
    """The log of the summaries that one task writes: its calls, their failures, and what the memory has after them."""

    def __init__(self, log: TraceLog, key: str) -> None:
        self._log = log
        self._key = key
        self._calls = 0
        self.error: BaseException | None = None
        """Why there is no summary, if that is how it ends."""

    def changed(self, before: str, after: str, version: int) -> None:
        """The memory has another summary."""
        self.error = None
        about = {"of": self._key, "change": "summary.written", "by": "summarizer", "version": version}
        self._log.event(
            "memory.changed", self._key, self._log.root, {**about, "before": Payload(before), "after": Payload(after)}
        )

    async def ask(self, provider: Provider, request: LLMRequest, policy: AskPolicy) -> CompletionResponse:
        """Ask a model, in a span. Raises `LLMError`."""
        from penguiflow.llm.calls import ask

        log, name, started = self._log, f"{provider.provider_name}/{provider.model}", perf_counter()
        asked = Payload({**dump_request(request), "purpose": "memory"})
        span = log.start("llm", name, log.root, {"ordinal": self._calls, "request": asked})
        self._calls += 1

        def on_retry(attempt: int, error: LLMError, sleep_s: float) -> None:
            told = {"attempt": attempt, "sleep_s": sleep_s, "error": f"{type(error).__name__}: {error}"}
            log.event("node.retry", provider.model, span, told)

        status, about = "cancelled", dict[str, Any]()
        try:
            response = await ask(provider, request, policy=policy, on_retry=on_retry)
            data = dump_response(response)
            status, about = "ok", {"response": Payload(data), **call_about(data)}
            return response
        except Exception as error:
            status, about = "error", {"error": log.describe(error)}
            raise
        finally:
            log.end("llm", name, span, log.root, status, {**about, "latency_ms": (perf_counter() - started) * 1e3})

    def close(self, *, cancelled: bool) -> None:
        """Write how it ended."""
        if cancelled:
            self._log.close("cancelled")
        elif self.error is None:
            self._log.close("ok")
        else:
            self._log.close("error", {"error": self._log.describe(self.error)})


@asynccontextmanager
async def summary_trace() -> AsyncIterator[SummaryTrace | None]:
    """A trace of what is done within, in a task of its own; None where the turn that caused it is kept nowhere."""
    turn = _turn.get()
    if turn is None:
        _trace.set(None)
        yield None
        return
    from penguiflow.recording.recorder import Recorder

    name = f"{turn.planner}.memory"
    # Not for those who listen to the run: its trace is over, and they wait for nothing else.
    recorder = Recorder(store=turn.recorder.store, name=name, masker=getattr(turn.recorder, "masker", None))
    about = {"origin": {"trace_id": turn.trace_id}, "mode": "background"}
    session = await _session_of(turn)
    log = recorder.open(new_id(), {**about, **({} if session is None else {"session": session})})
    trace = SummaryTrace(log, turn.key)
    _trace.set(trace)
    cancelled = True
    try:
        yield trace
        cancelled = False
    finally:
        trace.close(cancelled=cancelled)


async def ask_for_summary(provider: Provider, request: LLMRequest, policy: AskPolicy) -> CompletionResponse:
    """Ask a model for a summary, in the trace of this task if there is one. Raises `LLMError`."""
    trace = _trace.get()
    if trace is not None:
        return await trace.ask(provider, request, policy)
    from penguiflow.llm.calls import ask

    return await ask(provider, request, policy=policy)


async def _session_of(turn: _Turn) -> str | None:
    """That of the run's trace, so that lists have both together."""
    try:
        async with asyncio.timeout(SESSION_TIMEOUT_S):
            store = turn.recorder.store
            summary = await store.get_trace(turn.trace_id)
            if summary is None:  # it has only just begun
                await store.flush()
                summary = await store.get_trace(turn.trace_id)
    except Exception as error:  # whatever a store raises: the summary does not depend on it
        logger.warning("memory_session_unknown: %s: %s", type(error).__name__, error)
        summary = None
    return turn.session if summary is None or summary.session is None else summary.session
