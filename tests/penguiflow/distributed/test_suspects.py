"""What came again and again runs alone, and those first that were tried least."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from penguiflow.distributed.suspects import FROM_ATTEMPT, Suspects
from penguiflow.state import InMemoryStateStore
from penguiflow.state.shared import SharedChange

WAIT_S = 60.0


class Shared:
    """As much of a worker's share as is needed here."""

    def __init__(self, lease_s: float = WAIT_S, max_deliveries: int = 5) -> None:
        self.store = InMemoryStateStore()
        self.bus = SimpleNamespace(limits=SimpleNamespace(lease_s=lease_s, max_deliveries=max_deliveries))

    async def load(self, run: str, scopes: tuple[str, ...]) -> Any:
        return await self.store.load_shared(run, scopes)

    async def commit(self, change: SharedChange) -> Any:
        return (await self.store.commit_shared(change))[0]


@pytest.fixture
def shared() -> Any:
    return Shared()


async def test_what_came_seldom_runs_beside_others(shared: Any) -> None:
    suspects = Suspects(shared)
    async with (
        suspects.alone("t", "poison", FROM_ATTEMPT),
        suspects.alone("t", "first", 1),
        suspects.alone("t", "second", FROM_ATTEMPT - 1),
    ):
        pass


async def test_suspects_run_one_at_a_time(shared: Any) -> None:
    suspects = Suspects(shared)
    inside = most = 0

    async def run(key: str) -> None:
        nonlocal inside, most
        async with suspects.alone("t", key, FROM_ATTEMPT):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(run(str(number)) for number in range(5)))
    assert (inside, most) == (0, 1)


@pytest.mark.parametrize(("most", "attempt"), [(1, 2), (3, 2), (4, 3), (5, 3), (20, 3)])
async def test_each_is_tried_alone_before_its_last_delivery(most: int, attempt: int, until: Any) -> None:
    suspects = Suspects(Shared(max_deliveries=most))  # type: ignore[arg-type]
    async with suspects.alone("t", "one", attempt), suspects.alone("t", "unsuspected", attempt - 1):
        other = asyncio.ensure_future(suspects.alone("t", "other", attempt).__aenter__())
        await until(lambda: suspects._waiting)
        assert not other.done()
    async with asyncio.timeout(WAIT_S):
        await other


async def test_the_one_that_was_tried_least_goes_first(shared: Any) -> None:
    async with Suspects(shared).alone("t", "killer", FROM_ATTEMPT):
        pass  # here its worker died
    suspects, order = Suspects(shared), []

    async def run(key: str) -> None:
        async with suspects.alone("t", key, FROM_ATTEMPT + 1):
            order.append(key)

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(run("killer"), run("bystander"))
    assert order == ["bystander", "killer"]


async def test_nobody_waits_for_ever() -> None:
    suspects = Suspects(Shared(lease_s=0.05))  # type: ignore[arg-type]
    slow, after = (suspects.alone("t", key, FROM_ATTEMPT) for key in ("slow", "after it"))
    async with asyncio.timeout(WAIT_S), slow, after:
        pass


async def test_one_that_is_cancelled_while_it_waits_leaves_its_turn(shared: Any, until: Any) -> None:
    suspects = Suspects(shared)
    held = suspects.alone("t", "slow", FROM_ATTEMPT)
    await held.__aenter__()

    async def run(key: str) -> None:
        async with suspects.alone("t", key, FROM_ATTEMPT):
            pass

    impatient, patient = asyncio.create_task(run("impatient")), asyncio.create_task(run("patient"))
    await until(lambda: len(suspects._waiting) == 2)
    impatient.cancel()
    await held.__aexit__(None, None, None)
    async with asyncio.timeout(WAIT_S):
        await patient
    assert impatient.cancelled()
