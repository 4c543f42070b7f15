"""The sockets, with a real client: conversations, what is wrong with frames, and who may connect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

GOOD = "It began three months ago in the north region, costs $2M a year, and is our top priority"
TASK = {"type": "task", "data": {"task": "Our sales dropped 20% this quarter"}}
Serve = Callable[..., Any]


async def say(socket: ClientConnection, kind: str, **data: Any) -> None:
    await socket.send(json.dumps({"type": kind, "data": data}))


async def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        frame: dict[str, Any] = json.loads(await socket.recv())
    assert frame["type"] == kind, frame
    assert set(frame) == {"type", "data", "session_id", "task_id", "timestamp"}
    return frame


def answers(frame: dict[str, Any]) -> dict[str, str]:
    return dict.fromkeys(frame["data"]["questions"], GOOD)


async def test_the_rounds_over_a_socket_reach_the_diagnosis(service: Any) -> None:
    async with connect(f"{service.ws}/ws/business/s-1") as socket:
        await say(socket, "task", task="Our sales dropped 20% this quarter")
        task_id = (await hear(socket, "ack"))["task_id"]
        assert task_id.startswith("ws-task-")
        asked = await hear(socket, "questions")
        assert (asked["task_id"], asked["session_id"]) == (task_id, "s-1")
        for number in (2, 3):
            await say(socket, "answer", answers=answers(asked))
            await hear(socket, "ack")
            asked = await hear(socket, "questions")
            assert asked["data"]["round_number"] == number
        await say(socket, "answer", answers=answers(asked))
        await hear(socket, "ack")
        found = await hear(socket, "diagnosis")
        assert found["data"]["urgency_level"]
        assert found["data"]["problem_tree"]["root_causes"]
    assert (await service.get(f"status/{task_id}"))["status"] == "completed"
    assert len(await service.get("tasks?session_id=s-1")) == 4


async def test_a_conversation_goes_on_over_http_sockets_and_a_restart(serve: Serve) -> None:
    async with serve() as service:
        first = await service.post("execute/direct/business", {"task": "Our sales dropped 20%", "session_id": "s"})
        async with connect(f"{service.ws}/ws/business/s") as socket:
            asked = await hear(socket, "questions")
            assert asked["data"]["questions"] == first["data"]["questions"]
            await say(socket, "answer", answers=answers(asked))
            await hear(socket, "ack")
            second = await hear(socket, "questions")
    async with serve() as service:
        async with connect(f"{service.ws}/ws/business/s") as socket:
            again = await hear(socket, "questions")
            assert again["data"]["questions"] == second["data"]["questions"]
            assert again["data"]["round_number"] == 2
        third = await service.post("business/continue", {"session_id": "s", "answers": answers(second)})
        assert third["data"]["round_number"] == 3
        last = await service.post(
            "business/continue", {"session_id": "s", "answers": dict.fromkeys(third["data"]["questions"], GOOD)}
        )
        assert last["type"] == "full_analysis"


async def test_agents_over_a_socket(service: Any) -> None:
    async with connect(f"{service.ws}/ws/agent/s-2") as socket:
        await say(socket, "task", task="Write a Python hello world function")
        await hear(socket, "ack")
        told = await hear(socket, "result")
        assert told["data"]["agent_type"] == "code_agent"
        assert told["data"]["data"]["language"] == "python"
        await say(socket, "task", task="Good morning", agent_type="summary")
        await hear(socket, "ack")
        assert (await hear(socket, "result"))["data"]["type"] == "summary"
        await say(socket, "ping")
        await hear(socket, "pong")


@pytest.mark.parametrize(
    "sent",
    [
        "no json",
        "[]",
        "{}",
        '{"type": 5}',
        '{"type": "dance"}',
        '{"type": "task"}',
        '{"type": "task", "data": {"task": 5}}',
        '{"type": "task", "data": {"task": ["x"]}}',
        '{"type": "task", "data": {"task": "  "}}',
        '{"type": "task", "data": "x"}',
        '{"type": "answer", "data": {"answers": {}}}',
        '{"type": "answer", "data": {"answers": {"q": 5}}}',
        b"\xff\xfe",
        "[" * 5000,
    ],
)
async def test_a_wrong_frame_is_told_and_the_socket_stays(service: Any, sent: str | bytes) -> None:
    async with connect(f"{service.ws}/ws/business/s-3") as socket:
        await socket.send(sent)
        assert (await hear(socket, "error"))["data"]["error"]
        await say(socket, "ping")
        await hear(socket, "pong")


async def test_answers_without_questions_are_refused(service: Any) -> None:
    async with connect(f"{service.ws}/ws/business/s-4") as socket:
        await say(socket, "answer", answers={"q": "a"})
        await hear(socket, "ack")
        assert (await hear(socket, "error"))["data"]["code"] == "NO_OPEN_QUESTIONS"


async def test_a_frame_has_a_bound(serve: Serve) -> None:
    async with serve(max_frame_bytes=1000) as service, connect(f"{service.ws}/ws/agent/s") as socket:
        await say(socket, "task", task="x" * 2000)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


async def test_a_second_socket_takes_over_and_stays(service: Any) -> None:
    async with connect(f"{service.ws}/ws/agent/s-5") as first:
        await say(first, "ping")
        await hear(first, "pong")
        async with connect(f"{service.ws}/ws/agent/s-5") as second:
            await say(second, "ping")
            await hear(second, "pong")
            with pytest.raises(ConnectionClosed) as caught:
                await first.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1000
            # The first is gone: what the second asks is answered all the same.
            await say(second, "task", task="Write a Python function")
            await hear(second, "ack")
            await hear(second, "result")


async def test_what_was_done_meanwhile_is_told_when_the_client_is_back(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service:
        async with connect(f"{service.ws}/ws/agent/s") as socket:
            await say(socket, "task", task="long")
            task_id = (await hear(socket, "ack"))["task_id"]
            await gate.until_begun(1)
        conversations = service.app.state.conversations
        async with asyncio.timeout(60):
            while conversations.connected:  # noqa: ASYNC110 - the client is gone when the server sees it
                await asyncio.sleep(0.005)
            gate.open.set()
            while service.parts.service.running:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        async with connect(f"{service.ws}/ws/agent/s") as socket:
            told = await hear(socket, "result")
            assert (told["task_id"], told["data"]["data"]) == (task_id, {"said": "long"})


async def test_who_may_connect(serve: Serve) -> None:
    ada, eve = "a" * 20, "e" * 20
    async with serve(api_keys=f"ada:{ada},eve:{eve}", cors_origins="https://good.example") as service:

        async def refused(url: str, **more: Any) -> int:
            with pytest.raises(InvalidStatus) as caught:
                async with connect(f"{service.ws}{url}", **more):
                    pass
            return caught.value.response.status_code

        mine = {"Authorization": f"Bearer {ada}"}
        assert await refused("/ws/agent/s") == 403
        assert await refused("/ws/agent/s", additional_headers={"X-API-Key": "wrong"}) == 403
        assert await refused("/ws/agent/s", additional_headers=mine, origin="https://evil.example") == 403
        assert await refused("/ws/agent/a%2F..%2Fb", additional_headers=mine) == 403
        assert await refused("/ws/agent/" + "x" * 200, additional_headers=mine) == 403
        good: dict[str, Any] = {"additional_headers": mine, "origin": "https://good.example"}
        async with connect(f"{service.ws}/ws/agent/s", **good) as socket:
            await say(socket, "task", task="Write a Python function")
            await hear(socket, "ack")
            await hear(socket, "result")
            # Somebody else's session can neither be listened to nor taken.
            assert await refused("/ws/agent/s", additional_headers={"X-API-Key": eve}) == 403
            await say(socket, "ping")
            await hear(socket, "pong")
        async with connect(f"{service.ws}/ws/agent/p", subprotocols=[f"peeragent.key.{eve}"]) as socket:  # type: ignore[list-item]
            await say(socket, "ping")
            await hear(socket, "pong")


async def test_without_the_store_a_socket_is_refused_with_a_reason(serve: Serve, tmp_path: Path) -> None:
    async with serve(redis_url=f"unix://{tmp_path / 'none.sock'}", embedded_worker=False) as service:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"{service.ws}/ws/agent/s"):
                pass
        assert caught.value.response.status_code == 503
        assert json.loads(caught.value.response.body)["detail"]["code"] == "STORAGE_ERROR"


async def test_sockets_count_as_requests_do(serve: Serve) -> None:
    limits = {"rate_limits": True, "rate_limit_execute": "2/minute"}
    async with serve(**limits) as service, connect(f"{service.ws}/ws/agent/s") as socket:
        for _ in range(2):
            await say(socket, "task", task="Write a Python function")
            await hear(socket, "ack")
            await hear(socket, "result")
        await say(socket, "task", task="Write a Python function")
        assert (await hear(socket, "error"))["data"]["code"] == "RATE_LIMITED"


async def test_a_full_house_sends_newcomers_away(serve: Serve) -> None:
    async with serve(max_connections=1) as service, connect(f"{service.ws}/ws/agent/one") as socket:
        await say(socket, "ping")
        await hear(socket, "pong")
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"{service.ws}/ws/agent/two"):
                pass
        assert caught.value.response.status_code == 503
        assert json.loads(caught.value.response.body)["detail"]["code"] == "TOO_MANY_CONNECTIONS"
        await say(socket, "ping")
        await hear(socket, "pong")
