"""What comes while a session is at work: it waits, is refused, or takes the place of what is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect

from peeragent.models.tasks import TaskStatus

Serve = Callable[..., Any]
SESSION = ("anonymous", "s")


class Asking:
    """Requests of one session."""

    def __init__(self, service: Any) -> None:
        self.service = service

    def turn(self, task: str, status: int = 200, policy: str | None = None) -> asyncio.Task[Any]:
        headers = {"X-Double-Text": policy} if policy else {}
        body = {"task": task, "session_id": "s"}
        return asyncio.create_task(self.service.post("execute", body, status, **headers))

    async def until_waiting(self, count: int) -> None:
        lines = self.service.parts.service.sessions._lines
        async with asyncio.timeout(60):
            while SESSION not in lines or len(lines[SESSION].waiting) < count:  # noqa: ASYNC110 - other requests
                await asyncio.sleep(0.005)


async def test_no_more_wait_than_may(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}, max_waiting_per_session=2) as service:
        asking = Asking(service)
        first = asking.turn("first")
        await gate.until_begun(1)
        waits = [asking.turn("second"), asking.turn("third")]
        await asking.until_waiting(2)
        answer = await service.client.post("/v1/agent/execute", json={"task": "fourth", "session_id": "s"})
        assert answer.status_code == 429
        assert answer.json()["code"] == "SESSION_QUEUE_FULL"
        assert int(answer.headers["Retry-After"]) >= 1
        # Another session is no part of it.
        other = asyncio.create_task(service.post("execute", {"task": "other", "session_id": "t"}))
        await gate.until_begun(2)
        gate.open.set()
        done = await asyncio.gather(first, *waits, other)
        assert [each["data"]["said"] for each in done] == ["first", "second", "third", "other"]
        assert (await asking.turn("fifth"))["status"] == "completed"
        assert service.parts.service.sessions._lines == {}


async def test_what_waits_is_interrupted_too(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service:
        asking = Asking(service)
        first = asking.turn("first", 409)
        await gate.until_begun(1)
        waits = [asking.turn("second", 409), asking.turn("third", 409)]
        await asking.until_waiting(2)
        latest = asking.turn("latest", 200, "interrupt")
        told = [await each for each in (first, *waits)]
        assert [each["detail"]["code"] for each in told] == ["TASK_CANCELLED"] * 3
        gate.open.set()
        assert (await latest)["data"]["said"] == "latest"
        assert gate.began == ["first", "latest"]
        assert service.parts.service.sessions._lines == {}


async def test_a_socket_hears_that_its_task_was_interrupted_before_it_began(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service, connect(f"{service.ws}/ws/agent/s") as socket:
        for task in ("first", "second"):
            await socket.send(json.dumps({"type": "task", "data": {"task": task}}))
            assert json.loads(await socket.recv())["type"] == "ack"
        await gate.until_begun(1)
        asking = Asking(service)
        await asking.until_waiting(1)
        latest = asking.turn("latest", 200, "interrupt")
        frames = [json.loads(await socket.recv()) for _ in range(2)]
        assert [(each["type"], each["data"]["code"]) for each in frames] == [("error", "TASK_CANCELLED")] * 2
        assert len({each["task_id"] for each in frames}) == 2
        gate.open.set()
        assert (await latest)["data"]["said"] == "latest"


async def test_whoever_leaves_the_line_holds_up_nobody(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service:
        asking = Asking(service)
        first = asking.turn("first")
        await gate.until_begun(1)
        waits = [asking.turn(f"{number}") for number in range(3)]
        await asking.until_waiting(3)
        lines = service.parts.service.sessions._lines
        # As an end of the service, or of its request, would.
        gone = next(task for task in asyncio.all_tasks() if lines[SESSION].waiting[1].turn in _waited_for(task))
        gone.cancel()
        gate.open.set()
        done = await asyncio.gather(first, *waits, return_exceptions=True)
        said = [each["data"]["said"] for each in done if isinstance(each, dict)]
        assert sorted(said) == ["0", "2", "first"]
        assert lines == {}


def _waited_for(task: asyncio.Task[Any]) -> list[Any]:
    return [getattr(task, "_fut_waiter", None)]


@pytest.mark.parametrize("url", ["", "redis"])
async def test_nobody_interrupts_somebody_else(
    serve: Serve, gated: Any, request: pytest.FixtureRequest, url: str
) -> None:
    """Not even in a session that has no owner yet, for its first turn is still under way."""
    told = {"redis_url": request.getfixturevalue("valkey_of_its_own").url} if url else {}
    gate = gated()
    keys = {"api_keys": f"ada:{'a' * 20},eve:{'e' * 20}"}
    async with serve({"flow": gate.flow()}, embedded_worker=False, **keys, **told) as service:
        ada, eve = {"X-API-Key": "a" * 20}, {"X-API-Key": "e" * 20, "X-Double-Text": "interrupt"}
        body = {"task": "mine", "session_id": "s"}
        queued = await service.post("execute/async", {**body, "task": "queued"}, **ada)
        first = asyncio.create_task(service.post("execute", body, **ada))
        await gate.until_begun(1)
        await service.post("execute/async", {**body, "task": "theirs"}, **eve)
        second = asyncio.create_task(service.post("execute", {**body, "task": "theirs"}, 403, **eve))
        lines = service.parts.service.sessions._lines
        async with asyncio.timeout(60):
            while ("eve", "s") not in lines:  # noqa: ASYNC110 - another request
                await asyncio.sleep(0.005)
        gate.open.set()
        assert (await first)["data"]["said"] == "mine"
        assert (await second)["detail"]["code"] == "SESSION_FORBIDDEN"
        assert (await service.get(f"status/{queued['task_id']}", **ada))["status"] == "pending"


@pytest.mark.parametrize("url", ["", "redis"])
async def test_queued_tasks_of_a_session_are_counted_refused_and_interrupted(
    serve: Serve, request: pytest.FixtureRequest, url: str
) -> None:
    told = {"redis_url": request.getfixturevalue("valkey_of_its_own").url} if url else {}
    async with serve(embedded_worker=False, max_waiting_per_session=2, **told) as service:

        async def submit(task: str, status: int = 200, policy: str = "enqueue") -> Any:
            body, headers = {"task": task, "session_id": "s"}, {"X-Double-Text": policy}
            return await service.post("execute/async", body, status, **headers)

        kept = [await submit(f"number {number}") for number in range(3)]
        assert (await submit("one too many", 429))["code"] == "SESSION_QUEUE_FULL"
        refused = await submit("refused", 409, "reject")
        assert refused["detail"]["code"] == "SESSION_BUSY"
        latest = await submit("latest", policy="interrupt")
        states = [await service.get(f"status/{each['task_id']}") for each in kept]
        assert [(each["status"], each["code"]) for each in states] == [("cancelled", "TASK_CANCELLED")] * 3
        # Its story has an end, for those who follow it.
        answer = await service.client.get(f"/v1/agent/tasks/{kept[0]['task_id']}/events")
        events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
        assert [each["code"] for each in events] == ["TASK_CANCELLED"]
        assert await service.parts.store.unfinished("s") == [latest["task_id"]]


async def test_a_refused_request_may_come_again_with_its_key(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service:
        asking = Asking(service)
        first = asking.turn("first")
        await gate.until_begun(1)
        body, headers = {"task": "again", "session_id": "s"}, {"Idempotency-Key": "k", "X-Double-Text": "reject"}
        for path in ("execute", "execute/async"):
            refused = await service.post(path, body, 409, **headers)
            assert refused["detail"]["code"] == "SESSION_BUSY"
        answer = await service.client.post("/v1/agent/execute/stream", json=body, headers=headers)
        assert (answer.status_code, answer.json()["detail"]["code"]) == (409, "SESSION_BUSY")
        gate.open.set()
        await first
        done = await service.post("execute", body, **headers)
        assert done["data"]["said"] == "again"
        assert (await service.post("execute", body, **headers))["task_id"] == done["task_id"]
        found = await service.parts.store.get(done["task_id"])
        assert found.status is TaskStatus.COMPLETED
