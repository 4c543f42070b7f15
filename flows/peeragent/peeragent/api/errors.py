"""Failures as answers: one shape for all that is refused, and nothing of the inside."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from peeragent.errors import Refused
from peeragent.store.base import StoreUnavailable

log = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """What happened: `error` for people, `code` for programs."""

    error: str
    code: str


class ErrorBody(BaseModel):
    """The body of every refusal but those of malformed requests (422, a list) and of too many (429)."""

    detail: ErrorDetail


class LimitBody(BaseModel):
    """The body of 429."""

    error: str
    code: str = "RATE_LIMITED"


class InternalBody(BaseModel):
    """The body of 500."""

    error: str = "Internal server error"
    detail: str | None = None
    code: str = "INTERNAL_ERROR"


_MEANS = {
    400: "The request makes no sense.",
    401: "A key is needed.",
    403: "It belongs to somebody else.",
    404: "It is not there, or no more.",
    409: "It does not go with what is there.",
    413: "It is too large.",
    503: "The store does not answer.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside 200 and 422, for its description."""
    told: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, "description": _MEANS[status]} for status in (*statuses, 401, 413, 503)
    }
    told[429] = {
        "model": LimitBody,
        "description": "Too many requests.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
    }
    return told


def refuse(code: str, message: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a request that is refused."""
    if status == 429:
        return JSONResponse({"error": message, "code": code}, status, headers)
    return JSONResponse({"detail": {"error": message, "code": code}}, status, headers)


def refused(error: Refused) -> JSONResponse:
    """The answer to what the service does not do."""
    return refuse(error.code, error.message, error.status, error.headers)


def store_away(error: StoreUnavailable, *, debug: bool) -> JSONResponse:
    """The answer while the store does not answer."""
    log.warning("the store does not answer: %s", error)
    why = str(error) if debug else "the store of tasks does not answer; try again in a moment"
    return refuse("STORAGE_ERROR", why, 503, {"Retry-After": "5"})


def handle_errors(app: FastAPI, *, debug: bool) -> None:
    """Have all failures answered."""

    @app.exception_handler(Refused)
    async def _(_request: Request, error: Refused) -> JSONResponse:
        return refused(error)

    @app.exception_handler(StoreUnavailable)
    async def _(_request: Request, error: StoreUnavailable) -> JSONResponse:
        return store_away(error, debug=debug)

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not sent back: it may be long, and it may be secret.
        told = [{"type": each["type"], "loc": list(each["loc"]), "msg": each["msg"]} for each in error.errors()]
        return JSONResponse({"detail": told}, 422)

    @app.exception_handler(HTTPException)
    async def _(_request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE"}
        code = codes.get(error.status_code, "HTTP_ERROR")
        return refuse(code, str(error.detail), error.status_code, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _(_request: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return JSONResponse(InternalBody(detail=repr(error) if debug else None).model_dump(), 500)
