"""What the service is made of, put together from the settings."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peeragent.flow import make_flow, make_registry
from peeragent.llm import Model, make_model
from peeragent.routing import Router
from peeragent.search import make_search
from peeragent.service import Service
from peeragent.settings import Settings
from peeragent.store.base import StoreUnavailable, TaskStore
from peeragent.store.open import make_store
from peeragent.webhooks import Webhooks
from peeragent.worker import Worker
from penguiflow import PenguiFlow
from penguiflow.state import Retention, SQLiteStateStore

CHECK_S = 1.0
"""How long a health check may take."""


@dataclass
class Parts:
    """A service with all that it stands on."""

    settings: Settings
    model: Model
    flow: PenguiFlow
    router: Router
    store: TaskStore
    service: Service
    webhooks: Webhooks
    traces: SQLiteStateStore | None = None
    _worker: Worker | None = field(default=None, init=False)
    _working: asyncio.Task[None] | None = field(default=None, init=False)

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
        flow = flow or make_flow(model, make_search(settings))
        service = Service(settings, store, flow)
        webhooks = Webhooks(settings)
        service.on_finished.append(webhooks.tell)
        return cls(settings, model, flow, Router(model), store, service, webhooks, _traces(settings))

    async def start(self, *, work: bool = False) -> None:
        """Open the store and start the flow; `work`: on queued tasks, too.

        A store that does not answer yet is asked again at every request.
        """
        with contextlib.suppress(StoreUnavailable):
            await self.store.open()
        recording: dict[str, Any] = {} if self.traces is None else {"state_store": self.traces}
        self.flow.run(registry=make_registry(), **recording)
        await self.service.start()
        if work:
            self._worker = Worker(self.service)
            self._working = asyncio.create_task(self._worker.run(), name="peeragent worker")

    async def stop(self) -> None:
        """End what runs, hand back what is not finished, close all."""
        if self._worker is not None and self._working is not None:
            self._worker.stop()
            await asyncio.wait([self._working])
        await self.service.stop()
        await self.flow.stop()
        await self.webhooks.close()
        if self.traces is not None:
            await self.traces.close()
        await self.store.close()

    async def checks(self) -> dict[str, str]:
        """How what the service needs is, in words that give nothing away."""
        names = {"redis": self.settings.redis_url is not None, "store": True}
        states = {}
        for name, there in names.items():
            states[name] = await _check(self.store) if there else "disabled"
        states["mongodb"] = "disabled"
        return states


async def _check(store: TaskStore) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            await store.check()
    except (StoreUnavailable, TimeoutError):
        return "unhealthy"
    return "healthy"


def _traces(settings: Settings) -> SQLiteStateStore | None:
    if not settings.record_traces:
        return None
    home = Path(os.environ.get("PENGUIFLOW_HOME") or ".penguiflow")
    return SQLiteStateStore(home / "state.db", retention=Retention(max_age_s=settings.task_ttl_hours * 3600))
