"""The application: `create_app()`, or `uvicorn --factory peeragent.api.app:create_app`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse

from peeragent.api import agent_routes, sockets
from peeragent.api.access import Access
from peeragent.api.door import Door
from peeragent.api.errors import handle_errors, refusals
from peeragent.api.local import LocalNames
from peeragent.api.page import add_page
from peeragent.api.size import BodyLimit
from peeragent.metrics import Measured
from peeragent.models.agents import Agent
from peeragent.parts import Parts
from peeragent.settings import Settings
from peeragent.settings import settings as settings_of_environment
from peeragent.store.base import StoreUnavailable

SWEEP_S = 30.0
TAGS = [{"name": "agent", "description": "Tasks for the agents."}, {"name": "service", "description": "How it is."}]
SOCKETS = ["/ws/business/{session_id}", "/ws/agent/{session_id}"]


def create_app(settings: Settings | None = None, parts: Parts | None = None) -> FastAPI:
    """The service. Settings come from the environment unless given; `parts` are for tests."""
    settings = settings or settings_of_environment()
    made = parts or Parts.of(settings)
    app = FastAPI(
        title=settings.app_name,
        version=settings.app_version,
        description="Routes tasks to specialized agents.",
        max_body_size=None,
        lifespan=_lifespan,
        openapi_tags=TAGS,
    )
    app.state.settings, app.state.parts = settings, made
    app.state.service, app.state.router, app.state.webhooks = made.service, made.router, made.webhooks
    app.state.access = Access(settings, made.store)
    handle_errors(app, debug=settings.debug)
    app.state.conversations = sockets.Conversations(made.service, settings.max_connections)
    app.include_router(sockets.router)
    prefix = f"{settings.api_prefix}/agent"
    app.include_router(agent_routes.router, prefix=prefix)
    _service_routes(app, settings)
    add_page(app)
    _describe_keys(app)
    route = next(each for each in agent_routes.router.routes if getattr(each, "path", "") == "/execute")
    door = {"route": route, "path": f"{prefix}/execute", "access": app.state.access, "service": made.service}
    app.add_middleware(Door, **door)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials=settings.cors_allow_credentials,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "X-API-Key",
                "Idempotency-Key",
                "Last-Event-ID",
                "X-Double-Text",
            ],
            expose_headers=["Retry-After", "X-Task-ID"],
        )
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    if not settings.needs_keys and "*" not in settings.cors_origins:
        app.add_middleware(LocalNames, origins=settings.cors_origins)
    app.add_middleware(Measured, metrics=made.metrics, prefix=prefix)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    await parts.start(work=parts.settings.embedded_worker)
    sweep = asyncio.create_task(_sweep(parts, app.state.conversations), name="peeragent sweep")
    try:
        yield
    finally:
        await app.state.conversations.close()
        sweep.cancel()
        await asyncio.wait([sweep])
        await parts.stop()


async def _sweep(parts: Parts, conversations: sockets.Conversations) -> None:
    while True:
        conversations.sweep()
        with contextlib.suppress(StoreUnavailable):
            for lost in await parts.store.expire():
                # Nobody else is left to tell of it.
                for tell in parts.service.on_finished:
                    tell(lost, 0.0)
        await asyncio.sleep(SWEEP_S)


def _describe_keys(app: FastAPI) -> None:
    """Have the description say how a key is sent. Routes read it by hand: a dependency would cost each request."""
    made = app.openapi

    def described() -> dict[str, Any]:
        told = made()
        told.setdefault("components", {})["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path, operations in told["paths"].items():
            if path.startswith(f"{app.state.settings.api_prefix}/") or path in {"/metrics", "/ws/connections"}:
                for operation in operations.values():
                    # Either, or none where the service has no keys.
                    operation["security"] = [{"bearer": []}, {"key": []}, {}]
        return told

    app.openapi = described  # type: ignore[method-assign]


def _service_routes(app: FastAPI, settings: Settings) -> None:
    @app.get("/ping", tags=["service"])
    async def ping() -> dict[str, bool]:
        """Whether the process answers."""
        return {"pong": True}

    @app.get("/health", tags=["service"])
    async def health(request: Request) -> dict[str, Any]:
        """How the service and what it needs are, within a second."""
        parts: Parts = request.app.state.parts
        checks = await parts.checks()
        healthy = all(state in {"healthy", "disabled"} for state in checks.values())
        return {
            "status": "healthy" if healthy else "degraded",
            "app": settings.app_name,
            "version": settings.app_version,
            "timestamp": datetime.now(UTC).isoformat(),
            "checks": checks,
        }

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse, responses=refusals())
    async def metrics(request: Request) -> Response:
        """Numbers for Prometheus; needs a key where requests need one."""
        request.app.state.access.principal(request)
        parts: Parts = request.app.state.parts
        parts.metrics.running.set(parts.service.running)
        parts.metrics.unrecorded.set(parts.flows.unrecorded)
        parts.metrics.connections.set(len(request.app.state.conversations.connected))
        return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", tags=["service"])
    async def root() -> dict[str, Any]:
        """Where things are."""
        return {
            "message": f"{settings.app_name} routes tasks to specialized agents",
            "version": settings.app_version,
            "docs": "/docs",
            "chat": "/chat/",
            "health": "/health",
            "api_prefix": settings.api_prefix,
            "rate_limit": settings.rate_limit_execute,
            "websocket_endpoints": SOCKETS,
        }

    @app.get("/api/info", tags=["service"])
    async def info(request: Request) -> dict[str, Any]:
        """What can be asked for."""
        prefix = f"{settings.api_prefix}/agent"
        names = ("execute", "execute/stream", "execute/async", "status", "tasks", "execute/direct", "classify", "stats")
        model = request.app.state.parts.model.first
        return {
            "name": settings.app_name,
            "version": settings.app_version,
            "environment": settings.environment,
            "api_version": settings.api_prefix.strip("/"),
            "endpoints": {name.replace("/", "_"): f"{prefix}/{name}" for name in names},
            "websocket_endpoints": {"business": SOCKETS[0], "agent": SOCKETS[1]},
            "agent_types": [agent.value for agent in Agent],
            "rate_limits": {
                "execute": settings.rate_limit_execute,
                "status": settings.rate_limit_status,
                "default": settings.rate_limit_default,
            },
            "llm_provider": model.provider,
            "llm_model": model.model,
        }
