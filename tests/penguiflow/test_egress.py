"""Results wait until the events behind them are committed, where the recorder asks for that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import PenguiFlow, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until


class Commits:
    """A store that commits when it is told to."""

    def __init__(self, recorder: MemoryRecorder) -> None:
        self.waiting: list[asyncio.Future[None]] = []
        self.asked = 0
        recorder.commit = self.ask

    def ask(self) -> asyncio.Future[None]:
        self.asked += 1
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future

    def commit(self) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()


@pytest.fixture
def commits(recorder: MemoryRecorder) -> Commits:
    return Commits(recorder)


@pytest.fixture
async def flow(start: Start, make_node: MakeNode, recorder: MemoryRecorder, commits: Commits) -> PenguiFlow:
    return start(create(make_node().to()), recorder=recorder)


def fetch_of(flow: PenguiFlow, how: str, message: Any) -> asyncio.Task[Any]:
    async def streamed() -> Any:
        return [item async for item in flow.stream(message)][-1]

    async def traced() -> Any:
        await flow.emit(message, trace_id=message.trace_id)
        return await flow.fetch(trace_id=message.trace_id)

    async def fetched() -> Any:
        await flow.emit(message)
        return await flow.fetch()

    ways = {"call": lambda: flow.call(message), "stream": streamed, "fetch of a trace": traced, "fetch": fetched}
    return asyncio.create_task(ways[how]())


@pytest.mark.parametrize("how", ["call", "stream", "fetch", "fetch of a trace"])
async def test_no_result_before_its_commit(
    flow: PenguiFlow, make_message: MakeMessage, commits: Commits, until: Until, how: str
) -> None:
    reader = fetch_of(flow, how, make_message("x"))
    await until(lambda: bool(commits.waiting))
    assert not reader.done()
    while not reader.done():
        commits.commit()
        await asyncio.sleep(0)
    assert (await reader).payload == "x"


@pytest.mark.parametrize("how", ["fetch", "fetch of a trace"])
async def test_a_caller_who_gives_up_while_it_is_committed_loses_nothing(
    flow: PenguiFlow, make_message: MakeMessage, commits: Commits, until: Until, how: str
) -> None:
    message = make_message("x", trace_id="t")
    reader = fetch_of(flow, how, message)
    await until(lambda: bool(commits.waiting))
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    again = asyncio.create_task(flow.fetch(trace_id="t") if how == "fetch of a trace" else flow.fetch())
    while not again.done():
        commits.commit()
        await asyncio.sleep(0)
    assert (await again).payload == "x"


async def test_one_commit_serves_all_results_that_wait(
    flow: PenguiFlow, make_message: MakeMessage, commits: Commits, until: Until
) -> None:
    for number in range(10):
        await flow.emit(make_message(number))
    await until(lambda: len(flow._rookery.inbox.items) == 10)
    first = asyncio.create_task(flow.fetch())
    await until(lambda: bool(commits.waiting))
    commits.commit()
    assert [(await first).payload, *[(await flow.fetch()).payload for _ in range(9)]] == list(range(10))
    assert commits.asked == 1
