"""Numbers for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peeragent.models.tasks import TaskRecord

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Those of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "peeragent_http_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._took = Histogram(
            "peeragent_http_seconds", "How long answers took.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self._tasks = Counter(
            "peeragent_tasks", "Tasks that this process finished.", ["agent", "status", "code"], registry=self.registry
        )
        self._worked = Histogram(
            "peeragent_task_seconds", "How long tasks took.", ["agent"], buckets=SECONDS, registry=self.registry
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._ended: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self.running = Gauge("peeragent_tasks_running", "Tasks under way here.", registry=self.registry)
        self.unrecorded = Gauge(
            "peeragent_runs_unrecorded", "Runs that were more than are recorded.", registry=self.registry
        )
        self.connections = Gauge("peeragent_connections", "Sockets that are open here.", registry=self.registry)

    def task(self, task: TaskRecord, seconds: float) -> None:
        """A task is over."""
        agent = task.agent_type or "none"
        about = (agent, task.status.value, task.error.code if task.error else "")
        known = self._ended.get(about)
        if known is None:
            known = self._ended[about] = self._tasks.labels(*about), self._worked.labels(agent)
        known[0].inc()
        known[1].observe(seconds)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request is answered."""
        # Finding the child of some labels takes longer than counting.
        known = self._known.get((method, route, status))
        if known is None:
            children = self._requests.labels(method, route, str(status)), self._took.labels(route)
            known = self._known[method, route, status] = children
        known[0].inc()
        known[1].observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class Measured:
    """Counts requests by the route that took them: paths are without bound, routes are not."""

    def __init__(self, app: ASGIApp, metrics: Metrics, prefix: str) -> None:
        self._app, self._metrics, self._prefix = app, metrics, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            if route != "none" and scope["path"].startswith(f"{self._prefix}/"):
                # Routes of a router know nothing of where it stands.
                route = self._prefix + route.removeprefix(self._prefix)
            method = scope["method"] if scope["method"] in {"GET", "POST", "DELETE", "OPTIONS", "HEAD"} else "other"
            self._metrics.request(method, route, status, time.perf_counter() - began)
