from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from flows import triage
from penguiflow import FlowError, FlowErrorCode

if TYPE_CHECKING:
    from tests.conftest import MemoryRecorder
    from tests.flows.conftest import RunFlow


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for longer than it takes to tell."""
    monkeypatch.setattr(triage, "TYPING_S", 0)
    monkeypatch.setattr(triage.technical_node.policy, "backoff_base", 0.01)


def with_outages(number: int) -> str:
    """A ticket id that finds the knowledge base down so many times."""
    return next(name for name in (f"T-{i}" for i in range(100)) if triage.outages(name) == number)


@pytest.mark.parametrize(
    ("text", "branch"),
    [
        ("My INVOICE is wrong", "billing"),
        ("A  charge\nI do not know", "billing"),
        ("The login page is gone", "technical"),
        ("An error in my invoice", "technical"),
        ("Do you like fish?", "general"),
    ],
)
async def test_a_ticket_finds_its_branch(
    run_flow: RunFlow, recorder: MemoryRecorder, text: str, branch: triage.Branch
) -> None:
    outcome = await run_flow(triage, {"id": with_outages(0), "text": text}, recorder=recorder)

    assert (outcome.result.branch, outcome.result.attempts) == (branch, 1)
    ran = [event.name for event in recorder.only().of_kind("node.start")]
    assert ran == ["intake", "route", branch, "reply"]


async def test_the_answer_is_streamed(run_flow: RunFlow) -> None:
    outcome = await run_flow(
        triage, {"id": "T-1", "text": "My invoice is wrong", "customer": "Ada", "priority": "high"}
    )

    assert outcome.text == outcome.result.text
    assert outcome.text == "Dear Ada, about T-1: We check the invoice and settle it today."
    assert [chunk.seq for chunk in outcome.chunks] == list(range(12))
    assert [chunk.done for chunk in outcome.chunks] == [False] * 11 + [True]


@pytest.mark.parametrize("outages", [1, 2])
async def test_a_knowledge_base_that_is_down_is_asked_again(
    run_flow: RunFlow, recorder: MemoryRecorder, outages: int
) -> None:
    outcome = await run_flow(triage, {"id": with_outages(outages), "text": "an error"}, recorder=recorder)

    assert outcome.result.attempts == outages + 1
    attempts = [event for event in recorder.only().of_kind("attempt.end") if event.name == "technical"]
    assert [event.status for event in attempts] == ["error"] * outages + ["ok"]
    assert len(recorder.only().of_kind("node.retry")) == outages
    assert recorder.only().status == "ok"


@pytest.mark.usefixtures("virtual_time")
async def test_a_slow_ticket_times_out_once(
    run_flow: RunFlow, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triage.technical_node.policy, "timeout_s", 0.05)

    outcome = await run_flow(triage, {"id": with_outages(0), "text": "It is slow"}, recorder=recorder)

    assert outcome.result.attempts == 2
    attempts = [event for event in recorder.only().of_kind("attempt.end") if event.name == "technical"]
    assert [event.status for event in attempts] == ["timeout", "ok"]


@pytest.mark.usefixtures("virtual_time")
async def test_even_the_slowest_ticket_with_the_most_outages_is_answered(
    run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triage.technical_node.policy, "timeout_s", 0.05)

    outcome = await run_flow(triage, {"id": with_outages(2), "text": "slow"})

    assert outcome.result.attempts == 1 + triage.technical_node.policy.max_retries


async def test_an_impossible_ticket_fails_at_every_attempt(run_flow: RunFlow, recorder: MemoryRecorder) -> None:
    with pytest.raises(FlowError, match="nothing is known about 'This is impossible'") as caught:
        await run_flow(triage, {"id": with_outages(0), "text": "This is impossible"}, recorder=recorder)

    assert caught.value.code == FlowErrorCode.NODE_EXCEPTION
    assert caught.value.node_name == "technical"
    assert isinstance(caught.value.unwrap(), triage.KnowledgeBaseError)
    attempts = [event for event in recorder.only().of_kind("attempt.end") if event.name == "technical"]
    assert [event.status for event in attempts] == ["error"] * 4
    assert recorder.only().status == "error"


async def test_tickets_at_the_same_time_do_not_mix(run_flow: RunFlow) -> None:
    tickets = [{"id": f"T-{number}", "text": ("error", "invoice", "fish")[number % 3]} for number in range(30)]

    outcomes = await asyncio.gather(*(run_flow(triage, ticket) for ticket in tickets))

    for ticket, outcome in zip(tickets, outcomes, strict=True):
        assert outcome.result.ticket_id == ticket["id"]
        assert outcome.text == outcome.result.text
        expected = triage.outages(ticket["id"]) + 1 if ticket["text"] == "error" else 1
        assert outcome.result.attempts == expected


@pytest.mark.usefixtures("virtual_time")
async def test_the_samples_show_each_case(
    run_flow: RunFlow,
    samples: Callable[[ModuleType], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triage.technical_node.policy, "timeout_s", 0.05)
    seen: list[tuple[str, int]] = []
    for sample in samples(triage):
        try:
            result = (await run_flow(triage, sample)).result
            seen.append((result.branch, result.attempts))
        except FlowError as error:
            seen.append((error.code, 0))

    assert seen == [("billing", 1), ("technical", 3), ("technical", 2), ("NODE_EXCEPTION", 0), ("general", 1)]


@pytest.mark.parametrize(
    "payload", [{"id": "T-1"}, {"id": "", "text": "x"}, {"id": "1", "text": "x", "priority": "no"}]
)
async def test_a_ticket_that_is_none_is_refused(run_flow: RunFlow, payload: dict[str, str]) -> None:
    with pytest.raises(FlowError, match="validation error for Ticket"):
        await run_flow(triage, payload)
