"""What the earlier PeerAgent got wrong and no other test here is about; numbers as in docs/compatibility.md."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import peeragent as package
from peeragent.models.agents import Agent
from peeragent.models.tasks import TaskRecord, TaskStatus, new_id
from peeragent.settings import Settings

HANG_S = 60.0
PROJECT = Path(__file__).parents[3] / "flows" / "peeragent"
Serve = Callable[..., Any]


def test_2_one_worker_process_finishes_task_after_task(peeragent: Any) -> None:
    with peeragent.serving(EMBEDDED_WORKER="false") as (_, url), httpx.Client(base_url=url, timeout=HANG_S) as client:
        asked = {"task": "Write a Python function"}
        ids = [client.post("/v1/agent/execute/async", json=asked).json()["task_id"] for _ in range(5)]
        assert {each["status"] for each in client.get("/v1/agent/tasks").json()} == {"pending"}
        with peeragent.started("worker", WORKER_CONCURRENCY="1"):
            for task_id in ids:
                # The story of a task ends when the task does.
                client.get(f"/v1/agent/tasks/{task_id}/events").raise_for_status()
                assert client.get(f"/v1/agent/status/{task_id}").json()["status"] == "completed"


@pytest.mark.parametrize(
    ("task", "agent"),
    [
        ("Summarize this article: the sun rose and everybody was glad about it", Agent.SUMMARY),
        ("Translate this python script to Java", Agent.TRANSLATE),
        ("Write a professional email to my customer about the sales team meeting", Agent.EMAIL),
        ("Analyze this data: 1, 2, 3, 4", Agent.DATA),
        ("Do a competitor analysis of electric car makers", Agent.COMPETITOR),
    ],
)
async def test_7_who_is_classified_does_the_work(service: Any, task: str, agent: Agent) -> None:
    seen = (await service.client.get("/v1/agent/classify", params={"task": task})).json()
    assert seen["classification"] == agent
    assert (await service.post("execute", {"task": task}))["agent_type"] == agent.agent_type


def test_8_every_setting_is_read_by_something() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for path in Path(package.__file__).parent.rglob("*.py")
        if path.name != "settings.py"
    )
    # Limits are found by their common beginning, keys of providers by the provider's name.
    known = re.compile(r"rate_limit_\w+|(openai|google|anthropic)_api_key")
    unread = [
        name
        for name in Settings.model_fields
        if not known.fullmatch(name) and not re.search(rf"settings\.{name}\b", source)
    ]
    assert unread == [name for name in ("api_keys", "admin_keys") if name in unread]
    assert "settings.api_keys" in source
    assert '_api_key")' in source


async def test_8_and_15_tasks_are_forgotten_after_their_time(open_store: Callable[..., Any]) -> None:
    store = await open_store(task_ttl_s=0.1)
    task = TaskRecord(task_id=new_id("task"), status=TaskStatus.COMPLETED, task="x", session_id="s")
    await store.put_finished(task)
    async with asyncio.timeout(HANG_S):
        while await store.get(task.task_id) is not None or await store.list_tasks():
            await store.expire()
            await asyncio.sleep(0.02)
    assert await store.stats() == {}


def test_11_and_26_containers_meet_at_one_store_that_nobody_else_reaches() -> None:
    told = importlib.import_module("yaml").safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
    services = told["services"]
    urls = {services[name]["environment"]["REDIS_URL"] for name in ("api", "worker")}
    assert len(urls) == 1
    # Where Valkey listens unless it is told otherwise, which it is not.
    assert "@valkey:6379/" in urls.pop()
    assert "--port" not in services["valkey"]["command"]
    assert "--requirepass" in services["valkey"]["command"]
    assert "ports" not in services["valkey"]
    assert all(port.startswith("127.0.0.1:") for each in services.values() for port in each.get("ports", ()))
    assert "?" in services["api"]["environment"]["API_KEYS"], "nothing starts without keys"


def test_12_no_stage_may_fail_in_silence() -> None:
    workflows = [*(PROJECT.parents[1] / ".github" / "workflows").glob("*.yml")]
    assert workflows
    for each in workflows:
        text = each.read_text(encoding="utf-8")
        assert "continue-on-error" not in text
        assert "|| true" not in text


def test_12_and_26_the_log_tells_how_the_store_is_and_nothing_that_users_say(peeragent: Any) -> None:
    secret = "hunter2-the-users-own-words"
    asked = {"task": f"Write a Python function {secret}", "session_id": "s"}
    away = f"unix://{peeragent.folder / 'none.sock'}"
    with peeragent.serving(REDIS_URL=away) as (server, url):
        assert httpx.post(f"{url}/v1/agent/execute", json=asked, timeout=HANG_S).status_code == 503
        server.until("the store does not answer")
        server.process.terminate()
        assert "connected" not in server.rest()
    with peeragent.serving(LOG_LEVEL="DEBUG") as (server, url):
        answer = httpx.post(f"{url}/v1/agent/execute", json=asked, timeout=HANG_S)
        assert answer.json()["status"] == "completed"
        server.process.terminate()
        assert secret not in server.rest()


async def test_27_context_reaches_the_agent_and_priority_is_kept(service: Any) -> None:
    asked = {"task": "Analyze the data", "context": {"data": [2, 4, 6]}, "priority": 3}
    done = await service.post("execute/direct/data", asked)
    assert "4" in json.dumps(done["data"]["key_statistics"])
    kept = await service.parts.store.get(done["task_id"])
    assert (kept.priority, kept.context) == (3, asked["context"])
    assert done["priority"] == 3
