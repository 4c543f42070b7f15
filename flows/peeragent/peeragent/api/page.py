"""The page: `/chat/`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent.parent / "web"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


class Page(StaticFiles):
    """Files of the page, which may load nothing from elsewhere and run nothing that is not of it."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, with what browsers shall hold to."""
        answer = await super().get_response(path, scope)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def add_page(app: FastAPI) -> None:
    """Serve it."""
    app.mount("/chat", Page(directory=FOLDER, html=True), name="chat")
