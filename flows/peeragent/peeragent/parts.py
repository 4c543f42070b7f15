"""What the service is made of, put together from the settings."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peeragent.flow import make_flow, make_registry
from peeragent.interactions import Interactions, Sink, make_sink
from peeragent.llm import Model, make_model
from peeragent.logs import log_task
from peeragent.metrics import Metrics
from peeragent.routing import Router
from peeragent.runs import Flows
from peeragent.search import make_search
from peeragent.service import Service
from peeragent.settings import Settings
from peeragent.store.base import StoreUnavailable, TaskStore
from peeragent.store.open import make_store
from peeragent.webhooks import Webhooks
from peeragent.worker import Worker
from penguiflow import PenguiFlow
from penguiflow.state import Retention, SQLiteStateStore

log = logging.getLogger(__name__)

CHECK_S = 1.0
"""How long a health check may take."""


@dataclass
class Parts:
    """A service with all that it stands on."""

    settings: Settings
    model: Model
    flows: Flows
    router: Router
    store: TaskStore
    service: Service
    webhooks: Webhooks
    metrics: Metrics
    interactions: Interactions
    traces: SQLiteStateStore | None = None
    _worker: Worker | None = field(default=None, init=False)
    _working: asyncio.Task[None] | None = field(default=None, init=False)
    _ending: asyncio.Task[None] | None = field(default=None, init=False)

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        store: TaskStore | None = None,
        model: Model | None = None,
        flow: PenguiFlow | None = None,
    ) -> Parts:
        """Those of the settings, but for what is given."""
        model = model or make_model(settings)
        store = store or make_store(settings)
        unrecorded = None
        if flow is None:
            search = make_search(settings)
            flow = make_flow(model, search)
            if settings.record_traces and settings.record_per_second:
                unrecorded = make_flow(model, search)
        flows = Flows(flow, unrecorded, per_second=settings.record_per_second)
        service = Service(settings, store, flows)
        webhooks = Webhooks(settings)
        metrics, interactions = Metrics(), Interactions(store, make_sink(settings))
        service.on_finished += [webhooks.tell, metrics.task, log_task]
        if settings.interactions:
            service.on_finished.append(interactions.add)
        router, traces = Router(model), _traces(settings)
        return cls(settings, model, flows, router, store, service, webhooks, metrics, interactions, traces)

    async def start(self, *, work: bool = False) -> None:
        """Open the store and start the flow; `work`: on queued tasks, too.

        Raises `StoreUnavailable` for a file that cannot be used; a Redis server is asked at every request.
        """
        self.model.load()
        try:
            await self.store.open()
        except StoreUnavailable:
            await self.store.close()
            if self.traces is not None:
                await self.traces.close()
            raise
        recording: dict[str, Any] = {}
        if self.traces is not None:
            recording = {"state_store": self.traces, "recorder": self.traces.recorder(name="peeragent")}
        self.flows.run(make_registry(), **recording)
        await self.service.start()
        self.interactions.start()
        if work:
            self._worker = Worker(self.service)
            self._working = asyncio.create_task(self._worker.run(), name="peeragent worker")

    async def worked(self) -> None:
        """Return when the worker has ended."""
        if self._working is not None:
            await self._working

    def begin_stop(self) -> asyncio.Task[None]:
        """Take up nothing more. What runs has `shutdown_grace` seconds from now; the task is done when it has ended."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(time.monotonic()), name="peeragent end")
        return self._ending

    async def _end(self, began: float) -> None:
        until = began + self.settings.shutdown_grace
        if self._worker is not None:
            self._worker.stop(until)
        if self._working is not None:
            await asyncio.wait([self._working])
        await self.service.stop(max(0.0, until - time.monotonic()))

    async def stop(self) -> None:
        """End what runs, hand back what is not finished, close all."""
        await self.begin_stop()
        await self.flows.stop()
        await self.webhooks.close()
        await self.interactions.stop()
        if self.traces is not None:
            await self.traces.close()
        await self.store.close()

    async def checks(self) -> dict[str, str]:
        """How what the service needs is, in words that give nothing away; within a second or so."""
        store, sink = await asyncio.gather(_check(self.store.check), _check_sink(self.interactions.sink))
        return {"redis": store if self.store.name == "redis" else "disabled", "store": store, "mongodb": sink}


async def _check_sink(sink: Sink | None) -> str:
    return "disabled" if sink is None else await _check(sink.check)


async def _check(ask: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            await ask()
    except Exception:  # whatever a client library raises: it is not healthy, and why is for the log
        log.warning("a health check failed", exc_info=True)
        return "unhealthy"
    return "healthy"


def _traces(settings: Settings) -> SQLiteStateStore | None:
    if not settings.record_traces:
        return None
    home = Path(os.environ.get("PENGUIFLOW_HOME") or ".penguiflow")
    return SQLiteStateStore(home / "state.db", retention=Retention(max_age_s=settings.task_ttl_hours * 3600))
