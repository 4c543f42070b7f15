"""What the deliveries of a worker have in common."""

from __future__ import annotations

import logging

import pytest

from penguiflow.bus import Codec, MemoryBus
from penguiflow.distributed.header import Fault, Header
from penguiflow.distributed.share import Share, patiently
from penguiflow.distributed.writing import Writing
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.state import InMemoryStateStore
from penguiflow.state.errors import StoreError
from penguiflow.state.shared import SharedChange

HEADER = Header(trace_id="t", run="t", answer="Rookery@me", asked=True)
DIED = Fault(FlowError(trace_id="t", node_name="n", code=FlowErrorCode.NODE_EXCEPTION, message="a dead letter"))


class Told(Share):
    """Notes what is told of ends."""

    def __init__(self, store: InMemoryStateStore) -> None:
        super().__init__(MemoryBus(), store, Codec(), Writing(store, "flow", "worker"))
        self.told: list[tuple[str, bool]] = []

    async def tell_end(self, header: Header, status: str, fault: Fault) -> None:
        self.told.append((status, fault.error is not None))


async def test_the_end_of_a_trace_is_told_by_its_dead_letter_where_nobody_else_did() -> None:
    store = InMemoryStateStore()
    await store.commit_shared(SharedChange(trace_id="t", end="ok"))  # by a worker that died right after
    share = Told(store)
    assert not await share.end(HEADER, "error", DIED, dead="n:m1")
    assert share.told == [("ok", False)]
    await share.close()


async def test_a_dead_letter_ends_a_trace_that_goes_on() -> None:
    store = InMemoryStateStore()
    await store.commit_shared(SharedChange(trace_id="t", add={"messages": 1}))
    share = Told(store)
    assert await share.end(HEADER, "error", DIED, dead="n:m1")
    assert share.told == [("error", True)]
    await share.close()


async def test_a_store_that_is_away_is_told_of_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    failures = [StoreError("nobody answers at db.internal", path="db") for _ in range(3)]

    async def ask() -> str:
        if failures:
            raise failures.pop()
        return "an answer"

    with caplog.at_level(logging.WARNING, logger="penguiflow"):
        assert await patiently(ask) == "an answer"
    away, back = (record.getMessage() for record in caplog.records)
    assert away.startswith("the store does not answer")
    assert "nobody answers at db.internal" in away
    assert back == "the store answers again"
