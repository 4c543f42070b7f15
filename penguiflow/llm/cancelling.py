"""Calls that end when a `CancelToken` says so."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from penguiflow.llm.errors import LLMCancelledError
from penguiflow.llm.types import CancelToken

__all__ = ["unless_cancelled"]

T = TypeVar("T")

POLL = 0.05  # seconds between two looks at a token, which tells nobody when it is set


async def unless_cancelled(call: Coroutine[Any, Any, T], cancel: CancelToken | None) -> T:
    """The result of a call. Raises `LLMCancelledError` once the token is set; the call is cancelled then."""
    if cancel is None:
        return await call
    task = asyncio.ensure_future(call)
    try:
        while not cancel.is_cancelled():
            done, _ = await asyncio.wait({task}, timeout=POLL)
            if done:
                return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    raise LLMCancelledError("the call was given up")
