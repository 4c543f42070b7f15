"""Questions to rules, answered beside the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from penguiflow.steering import InMemoryGuardInbox, SteeringGuardEvent


class Rules:
    """Answers at once, except about what is held."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def evaluate(self, event: SteeringGuardEvent) -> Sequence[Any]:
        if event.event_type == "held":
            await self.release.wait()
        if event.event_type == "bad":
            raise ValueError("no such rule")
        return [f"decision on {event.correlation_id}"]


@pytest.fixture
async def rules() -> Rules:
    return Rules()


@pytest.fixture
async def inbox(rules: Rules) -> AsyncIterator[InMemoryGuardInbox]:
    inbox = InMemoryGuardInbox(rules, max_events=3)
    yield inbox
    await inbox.aclose()


def event(name: str, run: str = "r1", kind: str = "") -> SteeringGuardEvent:
    return SteeringGuardEvent(correlation_id=name, run_id=run, event_type=kind)


async def test_a_response_is_had_once(inbox: InMemoryGuardInbox) -> None:
    assert await inbox.submit(event("a")) == "a"
    response = await inbox.await_response("a", 5)
    assert (response.correlation_id, response.decisions, response.error) == ("a", ["decision on a"], None)
    with pytest.raises(KeyError, match="Unknown correlation_id: a"):
        await inbox.await_response("a", 5)
    assert inbox.drain_responses("r1") == []


async def test_a_timeout_loses_nothing(inbox: InMemoryGuardInbox, rules: Rules) -> None:
    await inbox.submit(event("a", kind="held"))
    with pytest.raises(TimeoutError):
        await inbox.await_response("a", 0.001)
    rules.release.set()
    assert (await inbox.await_response("a", 5)).decisions == ["decision on a"]


async def test_draining_takes_the_responses_of_one_run(inbox: InMemoryGuardInbox, rules: Rules, until: Any) -> None:
    for each in (event("a"), event("b", run="r2"), event("c", kind="held")):
        await inbox.submit(each)
    drained: list[str] = []

    def all_there() -> bool:
        drained.extend(response.correlation_id for response in inbox.drain_responses("r1"))
        return drained == ["a"]

    await until(all_there)
    assert (await inbox.await_response("b", 5)).correlation_id == "b"
    rules.release.set()
    assert (await inbox.await_response("c", 5)).correlation_id == "c"


async def test_a_failing_rule_is_an_answer(inbox: InMemoryGuardInbox) -> None:
    await inbox.submit(event("a", kind="bad"))
    response = await inbox.await_response("a", 5)
    assert (response.decisions, response.error) == ([], "ValueError: no such rule")


async def test_responses_that_nobody_has_are_bounded(inbox: InMemoryGuardInbox) -> None:
    async with asyncio.timeout(60):
        for number in range(10):
            await inbox.submit(event(str(number)))
    with pytest.raises(KeyError):
        await inbox.await_response("0", 5)
    assert (await inbox.await_response("9", 60)).correlation_id == "9"
    assert len(inbox._asked) <= 3


async def test_submitting_waits_while_everything_is_being_evaluated(inbox: InMemoryGuardInbox, rules: Rules) -> None:
    for name in "abc":
        await inbox.submit(event(name, kind="held"))
    fourth = asyncio.create_task(inbox.submit(event("d")))
    await asyncio.sleep(0)
    assert not fourth.done()
    rules.release.set()
    assert await asyncio.wait_for(fourth, 60) == "d"


async def test_an_id_in_use_is_refused(inbox: InMemoryGuardInbox) -> None:
    await inbox.submit(event("a"))
    with pytest.raises(ValueError, match="correlation_id a is in use"):
        await inbox.submit(event("a"))


async def test_closing_ends_the_evaluations_and_whoever_waits(inbox: InMemoryGuardInbox) -> None:
    await inbox.submit(event("a", kind="held"))
    waiting = asyncio.create_task(inbox.await_response("a", 5))
    await asyncio.sleep(0)
    await inbox.aclose()
    with pytest.raises(KeyError):
        await waiting
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "penguiflow:guard"]
