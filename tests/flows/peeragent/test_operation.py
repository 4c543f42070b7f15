"""What operators see: metrics, the log of interactions, callbacks, and a service whose store or sink is away."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from peeragent.store.base import StoreUnavailable
from peeragent.webhooks import SIGNATURE

SQL = {"task": "Write a SQL query to find top 10 customers by revenue"}
Serve = Callable[..., Any]


async def test_metrics_count_by_route_and_agent(service: Any) -> None:
    await service.post("execute", SQL)
    for number in range(3):
        await service.get(f"status/task-{number}", 404)
    text = (await service.client.get("/metrics")).text
    assert 'peeragent_tasks_total{agent="code_agent",code="",status="completed"} 1.0' in text
    assert 'route="/v1/agent/status/{task_id}",status="404"} 3.0' in text
    assert "task-1" not in text


async def test_metrics_need_a_key_where_requests_do(serve: Serve) -> None:
    async with serve(api_keys=f"ada:{'a' * 20}") as service:
        assert (await service.client.get("/metrics")).status_code == 401
        assert (await service.client.get("/metrics", headers={"X-API-Key": "a" * 20})).status_code == 200


async def test_interactions_are_logged_beside_the_work(service: Any) -> None:
    done = await service.post("execute", SQL)
    store = service.parts.store
    async with asyncio.timeout(60):
        while not (lines := await store.interactions()):  # noqa: ASYNC110 - written beside the request
            await asyncio.sleep(0.005)
    assert lines[0]["task_id"] == done["task_id"]
    assert lines[0]["agent_type"] == "code_agent"
    assert lines[0]["input_data"]["task"] == SQL["task"]
    assert lines[0]["duration_ms"] > 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_sink_that_is_away_slows_nothing(serve: Serve) -> None:
    async with serve(mongodb_url=f"mongodb://127.0.0.1:{free_port()}") as service:
        began = time.monotonic()
        for _ in range(5):
            await service.post("execute", SQL)
        health = (await service.client.get("/health")).json()
        assert (health["status"], health["checks"]["mongodb"]) == ("degraded", "unhealthy")
        assert "127.0.0.1" not in json.dumps(health)
        # The earlier service took 30 s for each of them.
        assert time.monotonic() - began < 20
        async with asyncio.timeout(60):
            while len(await service.parts.store.interactions()) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def test_a_store_that_is_away_is_told_at_once_and_holds_up_nothing(serve: Serve) -> None:
    async with serve(redis_url=f"redis://127.0.0.1:{free_port()}/0", rate_limits=True) as service:
        asked = [asyncio.create_task(service.post("execute", SQL, 503)) for _ in range(20)]
        pings = [(await service.client.get("/ping")).elapsed.total_seconds() for _ in range(20)]
        for told in await asyncio.gather(*asked):
            assert told["detail"]["code"] == "STORAGE_ERROR"
            assert "127.0.0.1" not in told["detail"]["error"]
        assert max(pings) < 5
        health = (await service.client.get("/health")).json()
        assert health["checks"]["redis"] == "unhealthy"
        assert (await service.get("tasks", 503))["detail"]["code"] == "STORAGE_ERROR"


async def test_a_store_that_hangs_is_given_up_in_time(serve: Serve) -> None:
    # It takes connections, and never answers.
    taken: list[asyncio.StreamWriter] = []
    deaf = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    port = deaf.sockets[0].getsockname()[1]
    async with serve(redis_url=f"redis://127.0.0.1:{port}/0", store_timeout=0.2, embedded_worker=False) as service:
        told = await service.post("execute", SQL, 503)
        assert told["detail"]["code"] == "STORAGE_ERROR"
        assert (await service.client.get("/ping")).status_code == 200
    deaf.close()
    for writer in taken:
        writer.close()
        await writer.wait_closed()


async def test_a_store_that_comes_back_is_used_again(serve: Serve, valkey_of_its_own: Any) -> None:
    server = valkey_of_its_own
    async with serve(redis_url=server.url) as service:
        await service.post("execute", SQL)
        server.stop()
        await service.post("execute", SQL, 503)
        server.start()
        async with asyncio.timeout(60):
            while not (await service.client.post("/v1/agent/execute", json=SQL)).is_success:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await service.client.get("/health")).json()["checks"]["redis"] == "healthy"


async def test_work_is_looked_after_again_when_the_store_is_back(
    serve: Serve, gated: Any, valkey_of_its_own: Any
) -> None:
    gate, server = gated(), valkey_of_its_own
    async with serve({"flow": gate.flow()}, redis_url=server.url, embedded_worker=False) as service:
        store = service.parts.store
        asked = store.cancel_requested
        looks: list[int] = []

        async def counted(task_ids: Any) -> Any:
            looks.append(1)
            return await asked(task_ids)

        store.cancel_requested = counted
        request = asyncio.create_task(service.post("execute", SQL, 409))
        await gate.until_begun(1)
        (task_id,) = service.parts.service._running
        async with asyncio.timeout(60):
            while await store.get(task_id) is None:  # noqa: ASYNC110 - kept in the background
                await asyncio.sleep(0.01)
            server.stop()
            before = len(looks)
            while len(looks) < before + 2:  # noqa: ASYNC110 - looked at in the background
                await asyncio.sleep(0.01)
            server.start()
            while True:
                try:
                    await store.request_cancel(task_id)
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    break
            assert (await request)["code"] == "TASK_CANCELLED"


@asynccontextmanager
async def receiver(*statuses: int) -> AsyncIterator[tuple[int, list[tuple[dict[str, str], bytes]]]]:
    """A server that notes what it is sent; the first answers have these statuses, then 200."""
    seen: list[tuple[dict[str, str], bytes]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head) if value}
        body = await reader.readexactly(int(headers["content-length"]))
        status = statuses[len(seen)] if len(seen) < len(statuses) else 200
        seen.append((headers, body))
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


async def test_a_file_that_is_gone_or_full_is_told(service: Any, tmp_path: Path) -> None:
    async def store() -> str:
        told = (await service.client.get("/health")).json()
        assert told["status"] == ("healthy" if told["checks"]["store"] == "healthy" else "degraded")
        return str(told["checks"]["store"])

    assert await store() == "healthy"
    batches = service.parts.store._db
    batches._writer.execute("PRAGMA query_only=1")  # as a disk that takes no more
    await service.post("execute", SQL, 503)
    assert await store() == "unhealthy"
    batches._writer.execute("PRAGMA query_only=0")
    await service.post("execute", SQL)
    assert await store() == "healthy"
    (tmp_path / "data" / "tasks.db").unlink()
    assert await store() == "unhealthy"


async def test_an_end_has_one_deadline(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}, shutdown_grace=0.3) as service:
        parts = service.parts
        stop = parts.service.stop
        graces: list[float | None] = []

        async def stopped(grace_s: float | None = None) -> None:
            graces.append(grace_s)
            await stop(grace_s)

        parts.service.stop = stopped
        kept = await service.post("execute/async", SQL)
        await gate.until_begun(1)
        await parts.begin_stop()
        # The worker has waited for its task until then: nobody waits again.
        assert graces == [0.0]
        assert gate.cancelled == 1
        async with asyncio.timeout(60):
            while (task := await parts.store.get(kept["task_id"])).status.value != "pending":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert task.attempts == 1
        refused = await service.post("execute", SQL, 503)
        assert refused["detail"]["code"] == "SHUTDOWN"


async def test_a_worker_goes_on_whatever_the_store_holds(serve: Serve) -> None:
    async with serve() as service:
        store = service.parts.store
        claim = store.claim
        failures: list[int] = []

        async def claimed(worker: str, lease_s: float) -> Any:
            if not failures:
                failures.append(1)
                raise ValueError("a record that nobody can read")
            return await claim(worker, lease_s)

        store.claim = claimed
        kept = await service.post("execute/async", SQL)
        async with asyncio.timeout(60):
            await service.client.get(f"/v1/agent/tasks/{kept['task_id']}/events")
        assert failures
        assert (await service.get(f"status/{kept['task_id']}"))["status"] == "completed"


async def test_callbacks_tell_of_tasks_that_were_cancelled_before_they_began(serve: Serve) -> None:
    told = {"webhook_secret": "s" * 20, "webhook_hosts": "127.0.0.1", "embedded_worker": False}
    async with receiver() as (port, seen), serve(**told) as service:
        kept = await service.post("execute/async", {**SQL, "webhook": f"http://127.0.0.1:{port}/done"})
        answer = await service.client.post(f"/v1/agent/tasks/{kept['task_id']}/cancel")
        assert answer.json()["status"] == "cancelled"
        async with asyncio.timeout(60):
            while not seen:  # noqa: ASYNC110 - another server sees it
                await asyncio.sleep(0.005)
        assert json.loads(seen[0][1])["status"] == "cancelled"


async def test_callbacks_are_signed_and_tried_again(serve: Serve) -> None:
    secret = "s" * 20
    async with receiver(500) as (port, seen), serve(webhook_secret=secret, webhook_hosts="127.0.0.1") as service:
        kept = await service.post("execute/async", {**SQL, "webhook": f"http://127.0.0.1:{port}/done"})
        async with asyncio.timeout(60):
            while len(seen) < 2:  # noqa: ASYNC110 - another server sees it
                await asyncio.sleep(0.005)
        headers, body = seen[-1]
        told = json.loads(body)
        assert (told["task_id"], told["status"]) == (kept["task_id"], "completed")
        at, _, given = headers[SIGNATURE.lower()].partition(",")
        wanted = hmac.new(secret.encode(), at.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hexdigest()
        assert given == f"v1={wanted}"


async def test_callbacks_tell_of_tasks_whose_worker_was_lost(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peeragent.api.app.SWEEP_S", 0.05)
    told = {"webhook_secret": "s" * 20, "webhook_hosts": "127.0.0.1", "embedded_worker": False}
    async with receiver() as (port, seen), serve(worker_max_attempts=1, **told) as service:
        kept = await service.post("execute/async", {**SQL, "webhook": f"http://127.0.0.1:{port}/done"})
        # A worker that dies with it.
        assert await service.parts.store.claim("worker-gone", 0.01)
        async with asyncio.timeout(60):
            while not seen:  # noqa: ASYNC110 - another server sees it
                await asyncio.sleep(0.005)
        body = json.loads(seen[0][1])
        assert (body["task_id"], body["status"], body["error"]["code"]) == (kept["task_id"], "failed", "WORKER_LOST")


async def test_callbacks_go_to_the_address_that_was_checked(serve: Serve) -> None:
    async with receiver() as (port, seen), serve(webhook_secret="s" * 20) as service:
        webhooks = service.parts.webhooks

        async def checked(url: str) -> str:
            return "127.0.0.1"  # as if it were a public one

        webhooks.check = checked
        url = f"http://callbacks.invalid:{port}/done"
        done = await service.post("execute", SQL)
        task = (await service.parts.store.get(done["task_id"])).model_copy(update={"webhook": url})
        webhooks.tell(task, 0.1)
        async with asyncio.timeout(60):
            while not seen:  # noqa: ASYNC110 - another server sees it
                await asyncio.sleep(0.005)
        assert seen[0][0]["host"] == f"callbacks.invalid:{port}"


async def test_callbacks_do_not_reach_inside(serve: Serve) -> None:
    async with serve() as service:
        told = await service.post("execute/async", {**SQL, "webhook": "http://example.com/"}, 409)
        assert told["detail"]["code"] == "WEBHOOKS_DISABLED"
    async with serve(webhook_secret="s" * 20) as service:
        for url in ("http://127.0.0.1:80/", "http://[::1]/", "http://169.254.169.254/latest", "http://10.0.0.1/"):
            told = await service.post("execute/async", {**SQL, "webhook": url}, 403)
            assert told["detail"]["code"] == "WEBHOOK_FORBIDDEN"
        await service.post("execute/async", {**SQL, "webhook": "file:///etc/passwd"}, 422)


async def test_a_line_of_the_log_names_task_session_and_trace_and_no_words(serve: Serve, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "peeragent", "serve", "--port", "0"]
    environ = {**os.environ, "PENGUIFLOW_HOME": str(tmp_path / "home"), "LOG_LEVEL": "INFO"}
    server = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, cwd=tmp_path, env=environ)
    assert server.stderr is not None
    url = (await server.stderr.readline()).decode().split()[-1]
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        done = (await client.post("/v1/agent/execute", json=SQL)).json()
    server.terminate()
    lines = [json.loads(line) async for line in server.stderr]
    await server.wait()
    told = next(line for line in lines if line["event"] == "task")
    assert {name: told[name] for name in ("task_id", "session_id", "trace_id", "status")} == {
        name: done[name] for name in ("task_id", "session_id", "trace_id", "status")
    }
    assert "customers" not in json.dumps(lines)
