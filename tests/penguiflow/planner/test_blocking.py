"""What watches a tool passes everything on: values, failures and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from penguiflow.planner.blocking import Unblocking


async def watched(made: Unblocking) -> object:
    return await made


async def test_values_and_failures_of_what_is_awaited() -> None:
    loop = asyncio.get_running_loop()
    good: asyncio.Future[int] = loop.create_future()
    bad: asyncio.Future[int] = loop.create_future()
    loop.call_soon(good.set_result, 4)
    loop.call_soon(bad.set_exception, ValueError("no"))

    async def tool() -> tuple[int, str]:
        got = await good
        try:
            await bad
        except ValueError as error:
            return got, str(error)
        return got, ""

    assert await watched(Unblocking(tool(), "tool")) == (4, "no")


async def test_what_the_tool_raises() -> None:
    async def tool() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await watched(Unblocking(tool(), "tool"))


async def test_a_tool_may_clean_up_when_it_is_cancelled() -> None:
    waiting, seen = asyncio.Event(), list[str]()

    async def tool() -> None:
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    task = asyncio.ensure_future(watched(Unblocking(tool(), "tool")))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cleaned up"]


def test_a_tool_that_is_closed_is_closed_within() -> None:
    seen: list[str] = []

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            yield None

    async def tool() -> None:
        try:
            await Never()
        finally:
            seen.append("closed")

    made = watched(Unblocking(tool(), "tool"))
    made.send(None)
    made.close()
    assert seen == ["closed"]
