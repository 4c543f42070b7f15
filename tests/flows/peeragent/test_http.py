"""The HTTP routes, over real sockets, with the scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from peeragent.models.agents import Agent

SQL = {"task": "Write a SQL query to find top 10 customers by revenue"}
GOOD = "It began three months ago in the north region, costs $2M a year, and is our top priority"
Serve = Callable[..., Any]


async def test_a_task_is_routed_done_and_kept(service: Any) -> None:
    done = await service.post("execute", SQL)
    assert done["status"] == "completed"
    assert done["agent_type"] == "code_agent"
    assert done["priority"] == 2
    assert done["data"]["language"] == "sql"
    assert done["result"] == {"agent_type": "code_agent", "type": "code", "data": done["data"]}
    assert done["model"]["scripted"]
    kept = await service.get(f"status/{done['task_id']}")
    assert kept["status"] == "completed"
    assert kept["result"]["data"] == done["data"]
    assert kept["error"] is None
    assert kept["completed_at"] >= kept["created_at"]
    assert [task["task_id"] for task in await service.get("tasks")] == [done["task_id"]]
    assert await service.get("stats") == {
        "total_tasks": 1,
        "status_counts": {"completed": 1},
        "ttl_hours": 24.0,
        "type": "sqlite",
    }


@pytest.mark.parametrize("agent", [each for each in Agent if each is not Agent.BUSINESS])
async def test_every_agent_answers_and_its_task_can_be_read(service: Any, agent: Agent) -> None:
    task = "Translate to Spanish: Good morning. Compare the market of electric cars and say what it costs."
    done = await service.post(f"execute/direct/{agent}", {"task": task, "context": {"data": [1, 2, 3]}})
    assert done["status"] == "completed", done
    assert done["agent_type"] == agent.agent_type
    assert (await service.get(f"status/{done['task_id']}"))["status"] == "completed"
    assert len(await service.get("tasks")) == 1


async def test_the_rounds_belong_to_the_server(service: Any) -> None:
    first = await service.post("execute/direct/business", {"task": "Our sales dropped 20%", "session_id": "b-1"})
    assert (first["type"], first["data"]["round_number"]) == ("questions", 1)
    numbers = []
    for _ in range(3):
        # What clients say of the round is theirs to say; the server knows.
        told = {"session_id": "b-1", "answers": {"When?": GOOD, "Impact?": GOOD}, "answer_round": -7}
        step = await service.post("business/continue", told)
        numbers.append((step["type"], step["data"].get("round_number")))
    assert numbers == [("questions", 2), ("questions", 3), ("full_analysis", None)]
    assert step["data"]["diagnosis"]["urgency_level"] in {"Low", "Medium", "Critical"}
    assert step["data"]["customer_stated_problem"] == "Our sales dropped 20%"
    assert 3 <= len(step["data"]["problem_tree"]["root_causes"]) <= 5
    over = await service.post("business/continue", {"session_id": "b-1", "answers": {"q": GOOD}}, 409)
    assert over["detail"]["code"] == "NO_OPEN_QUESTIONS"


async def test_a_client_may_want_the_diagnosis_now(service: Any) -> None:
    await service.post("execute/direct/business", {"task": "Our sales dropped 20%", "session_id": "b-3"})
    told = {"session_id": "b-3", "answers": {"When did it start?": GOOD, "Impact?": GOOD}, "diagnose_now": True}
    found = await service.post("business/continue", told)
    assert found["type"] == "full_analysis"
    assert found["data"]["hidden_root_risk"]


async def test_answers_that_say_nothing_are_asked_again(service: Any) -> None:
    await service.post("execute/direct/business", {"task": "Our sales dropped 20%", "session_id": "b-2"})
    blank = await service.post("business/continue", {"session_id": "b-2", "answers": {"q": "  "}}, 400)
    assert blank["detail"]["code"] == "EMPTY_ANSWERS"
    again = await service.post("business/continue", {"session_id": "b-2", "answers": {"q": "dunno"}})
    assert (again["type"], again["data"]["round_number"]) == ("questions", 1)
    assert again["data"]["feedback"]
    assert again["data"]["phase_emoji"] == "⚠️"


async def test_the_demo_and_the_tree(service: Any) -> None:
    demo = await service.post("business/demo", {"task": "Our sales dropped 20%"})
    assert demo["demo_mode"]
    assert (demo["result"]["type"], demo["result"]["task"]) == ("demo", "Our sales dropped 20%")
    assert demo["task_id"].startswith("demo-")
    assert [each["phase"] for each in demo["result"]["rounds"]] == ["identify", "clarify", "diagnose"]
    assert demo["result"]["problem_tree"]["root_causes"]
    assert demo["result"]["diagnosis"]["hidden_root_risk"]
    tree = await service.post("business/problem-tree", {"task": "Delivery costs are rising"})
    assert tree["task_id"].startswith("tree-")
    assert tree["result"]["problem_description"] == "Delivery costs are rising"
    assert len(tree["result"]["problem_tree"]["root_causes"]) >= 3


async def test_async_tasks_are_done_by_the_embedded_worker(service: Any) -> None:
    kept = await service.post("execute/async", SQL)
    assert kept["status"] == "pending"
    assert kept["task_id"] in kept["message"]
    answer = await service.client.get(f"/v1/agent/tasks/{kept['task_id']}/events")
    events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    assert events[-1]["done"]
    state = await service.get(f"status/{kept['task_id']}")
    assert (state["status"], state["attempts"]) == ("completed", 1)


async def test_a_task_without_a_story_still_tells_its_end(service: Any) -> None:
    done = await service.post("execute", SQL)
    path = f"/v1/agent/tasks/{done['task_id']}/events"
    answer = await service.client.get(path)
    (event,) = (json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:"))
    assert (event["done"], event["result"]["data"]) == (True, done["data"])
    again = await service.client.get(path, headers={"Last-Event-ID": "1"})
    assert "data:" not in again.text


DEEP = {"a": 1}
for _ in range(300):
    DEEP = {"a": DEEP}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "context",
    [json.dumps(DEEP), '{"n": NaN}', '{"n": 1e400}', r'{"n": ["\ud800"]}', r'{"\udfff": 1}'],
    ids=["deep", "nan", "infinite", "half a character", "half a character in a name"],
)
async def test_what_could_not_be_read_again_is_refused(service: Any, context: str) -> None:
    kept = await service.post("execute", SQL)
    for path in ("execute", "execute/direct/data", "execute/async", "execute/stream", "business/problem-tree"):
        answer = await service.client.post(
            f"/v1/agent/{path}",
            content=f'{{"task": "Analyze this", "context": {context}}}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 422, (path, answer.text)
        assert [each["loc"] for each in answer.json()["detail"]] == [["body", "context"]]
    # Nobody's list is spoilt by it.
    assert [each["task_id"] for each in await service.get("tasks")] == [kept["task_id"]]


async def test_a_stream_tells_route_pieces_and_end_and_can_be_taken_up_again(service: Any) -> None:
    answer = await service.client.post("/v1/agent/execute/stream", json=SQL, headers={"Idempotency-Key": "k"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    ids = [int(line[3:]) for line in answer.text.splitlines() if line.startswith("id:")]
    events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    assert ids == list(range(1, len(events) + 1))
    assert (events[0]["event"], events[0]["agent"]) == ("classification", "code_agent")
    assert "SELECT" in "".join(each.get("content", "") for each in events)
    assert events[-1]["done"]
    assert events[-1]["task_id"].startswith("task-stream-")
    assert events[-1]["result"]["data"]["language"] == "sql"
    rest = await service.client.post(
        "/v1/agent/execute/stream", json=SQL, headers={"Idempotency-Key": "k", "Last-Event-ID": str(ids[-2])}
    )
    assert [line for line in rest.text.splitlines() if line.startswith("id:")] == [f"id: {ids[-1]}"]
    path = f"/v1/agent/tasks/{events[-1]['task_id']}/events"
    whole = await service.client.get(path)
    assert len([line for line in whole.text.splitlines() if line.startswith("data:")]) == len(events)


async def test_a_stream_may_name_its_agent(service: Any) -> None:
    body = {"task": "Our sales dropped 20%", "session_id": "s"}
    answer = await service.client.post("/v1/agent/execute/stream", json={**body, "agent_type": "code"})
    events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    assert (events[0]["agent"], events[0]["method"]) == ("code_agent", "direct")
    assert events[-1]["agent_type"] == "code_agent"
    wrong = await service.client.post("/v1/agent/execute/stream", json={**body, "agent_type": "nobody"})
    assert (wrong.status_code, wrong.json()["detail"]["code"]) == (400, "INVALID_AGENT_TYPE")


async def test_what_cannot_be_read_is_refused_in_one_shape(service: Any) -> None:
    assert (await service.post("execute", {"task": "  "}, 400))["detail"]["code"] == "EMPTY_TASK"
    assert isinstance((await service.post("execute", {"task": ""}, 422))["detail"], list)
    assert isinstance((await service.post("execute", {}, 422))["detail"], list)
    secret = await service.post("execute", {"task": "x", "priority": "hunter2"}, 422)
    assert "hunter2" not in json.dumps(secret)
    wrong = await service.post("execute/direct/nobody", SQL, 400)
    assert wrong["detail"]["code"] == "INVALID_AGENT_TYPE"
    assert (await service.get("status/task-none", 404))["detail"]["code"] == "TASK_NOT_FOUND"
    assert (await service.get("status/index", 404))["detail"]["code"] == "TASK_NOT_FOUND"
    gone = await service.client.delete("/v1/agent/tasks/index")
    assert gone.status_code == 404
    await service.get("tasks?status=nonsense", 422)
    await service.get("tasks?limit=0", 422)
    empty = await service.post("business/continue", {"session_id": "s", "answers": {}}, 400)
    assert empty["detail"]["code"] == "EMPTY_ANSWERS"
    assert (await service.post("execute", SQL, 400, **{"X-Double-Text": "x"}))["detail"]["code"] == "BAD_HEADER"
    await service.get("classify?task=", 422)


async def test_bodies_have_a_bound(serve: Serve) -> None:
    async with serve(max_body_bytes=1000, max_task_chars=50) as service:
        big = await service.post("execute", {"task": "x" * 2000}, 413)
        assert big["detail"]["code"] == "BODY_TOO_LARGE"

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"x" * 500

        told = await service.client.post("/v1/agent/execute", content=pieces())
        assert told.status_code == 413
        long = await service.post("execute", {"task": "x" * 60}, 413)
        assert long["detail"]["code"] == "TASK_TOO_LONG"


async def test_the_same_key_is_done_once(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service:
        first = asyncio.create_task(service.post("execute", SQL, **{"Idempotency-Key": "k"}))
        await gate.until_begun(1)
        second = asyncio.create_task(service.post("execute", SQL, **{"Idempotency-Key": "k"}))
        other = await service.post("execute", {"task": "another"}, 409, **{"Idempotency-Key": "k"})
        assert other["detail"]["code"] == "IDEMPOTENCY_KEY_REUSED"
        gate.open.set()
        assert (await first)["task_id"] == (await second)["task_id"]
        assert gate.began == [SQL["task"]]


async def test_a_task_under_way_is_seen_and_can_be_cancelled(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service:
        asked = asyncio.create_task(service.post("execute", SQL, 409))
        listed: list[Any] = []
        async with asyncio.timeout(60):
            while not listed:
                listed = await service.get("tasks?status=processing")
        task_id = listed[0]["task_id"]
        answer = await service.client.post(f"/v1/agent/tasks/{task_id}/cancel")
        assert answer.json()["status"] == "cancelled"
        told = await asked
        assert (told["status"], told["code"]) == ("cancelled", "TASK_CANCELLED")
        assert gate.cancelled == 1
        again = await service.client.post(f"/v1/agent/tasks/{task_id}/cancel")
        assert again.status_code == 200
        gate.open.set()
        done = await service.post("execute", SQL)
        late = await service.client.post(f"/v1/agent/tasks/{done['task_id']}/cancel")
        assert (late.status_code, late.json()["detail"]["code"]) == (409, "TASK_IS_OVER")
        assert (await service.client.delete(f"/v1/agent/tasks/{task_id}")).json() == {"deleted": task_id}
        await service.get(f"status/{task_id}", 404)


async def test_a_failure_is_failed_and_tells_nothing_of_the_inside(serve: Serve, gated: Any) -> None:
    gate = gated(fails=True)
    gate.open.set()
    async with serve({"flow": gate.flow()}) as service:
        told = await service.post("execute", SQL, 500)
        assert (told["status"], told["code"]) == ("failed", "EXECUTION_ERROR")
        assert "secret" not in json.dumps(told)
        state = await service.get(f"status/{told['task_id']}")
        assert (state["status"], state["code"]) == ("failed", "EXECUTION_ERROR")
        answer = await service.client.post("/v1/agent/execute/stream", json=SQL)
        last = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")][-1]
        assert (last["code"], last["done"]) == ("EXECUTION_ERROR", True)


async def test_an_answer_that_takes_too_long_fails(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}, task_timeout=0.05) as service:
        told = await service.post("execute", SQL, 504)
        assert (told["status"], told["code"]) == ("failed", "TASK_TIMEOUT")


async def test_double_texts(serve: Serve, gated: Any) -> None:
    gate = gated()
    async with serve({"flow": gate.flow()}) as service:

        def turn(task: str, status: int = 200, policy: str | None = None) -> asyncio.Task[Any]:
            headers = {"X-Double-Text": policy} if policy else {}
            return asyncio.create_task(service.post("execute", {"task": task, "session_id": "s"}, status, **headers))

        first = turn("first", 409)
        await gate.until_begun(1)
        refused = await turn("second", 409, "reject")
        assert refused["detail"]["code"] == "SESSION_BUSY"
        third = turn("third", 200, "interrupt")
        assert (await first)["status"] == "cancelled"
        await gate.until_begun(2)
        waits = [turn(f"in line {number}") for number in range(3)]
        gate.open.set()
        assert (await third)["data"]["said"] == "third"
        await asyncio.gather(*waits)
        assert gate.began[:2] == ["first", "third"]
        assert sorted(gate.began[2:]) == [f"in line {number}" for number in range(3)]


async def test_a_session_remembers_its_turns_and_its_agent(service: Any) -> None:
    await service.post("execute", {**SQL, "session_id": "s"})
    follow = await service.post("execute", {"task": "and in Java?", "session_id": "s"})
    assert follow["agent_type"] == "code_agent"
    session = await service.parts.store.session("s", "anonymous")
    assert [turn.role for turn in session.turns] == ["user", "assistant"] * 2
    assert session.version == 2


async def test_only_the_owner_sees_and_changes(serve: Serve) -> None:
    ada, eve, root = "a" * 20, "e" * 20, "r" * 20
    async with serve(api_keys=f"ada:{ada},eve:{eve}", admin_keys=f"root:{root}") as service:
        assert (await service.post("execute", SQL, 401))["detail"]["code"] == "UNAUTHORIZED"
        await service.post("execute", SQL, 401, Authorization="Bearer wrong")
        mine = {"Authorization": f"Bearer {ada}"}
        theirs = {"X-API-Key": eve}
        done = await service.post("execute", {**SQL, "session_id": "s"}, **mine)
        await service.get(f"status/{done['task_id']}", **mine)
        await service.get(f"status/{done['task_id']}", 404, **theirs)
        gone = await service.client.delete(f"/v1/agent/tasks/{done['task_id']}", headers=theirs)
        assert gone.status_code == 404
        assert await service.get("tasks", **theirs) == []
        assert (await service.get("stats", **theirs))["total_tasks"] == 0
        other = await service.post("execute", {**SQL, "session_id": "s"}, 403, **theirs)
        assert other["detail"]["code"] == "SESSION_FORBIDDEN"
        await service.post("execute/async", {**SQL, "session_id": "s"}, 403, **theirs)
        await service.post("business/continue", {"session_id": "s", "answers": {"q": "a"}}, 403, **theirs)
        assert len(await service.get("tasks", Authorization=f"Bearer {root}")) == 1
        for headers, status in ((theirs, 403), ({}, 401), ({"X-API-Key": root}, 200)):
            answer = await service.client.get("/ws/connections", headers=headers)
            assert answer.status_code == status
        assert (await service.client.get("/ping")).json() == {"pong": True}


async def test_limits_are_of_principals_and_not_of_paths(serve: Serve) -> None:
    keys = {"api_keys": f"ada:{'a' * 20},eve:{'e' * 20}"}
    async with serve(rate_limits=True, rate_limit_execute="3/minute", rate_limit_status="2/minute", **keys) as service:
        ada, eve = {"X-API-Key": "a" * 20}, {"X-API-Key": "e" * 20}
        await service.post("execute", SQL, **ada)
        await service.post("execute/direct/code", SQL, **ada)
        await service.post("execute/direct/nobody", SQL, 400, **ada)
        answer = await service.client.post("/v1/agent/execute/direct/email", json=SQL, headers=ada)
        assert answer.status_code == 429
        assert answer.json()["error"] == "Rate limit exceeded: 3 per 1 minute"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        spoofed = {**ada, "X-Forwarded-For": "1.2.3.4"}
        assert (await service.client.post("/v1/agent/execute", json=SQL, headers=spoofed)).status_code == 429
        await service.post("execute", SQL, **eve)
        for number in range(2):
            await service.get(f"status/task-{number}", 404, **ada)
        await service.get("status/task-9", 429, **ada)


async def test_pages_of_other_origins_may_nothing_unless_they_are_named(serve: Serve) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with serve() as service:
        answer = await service.client.options("/v1/agent/execute", headers=asked)
        assert "access-control-allow-origin" not in answer.headers
    async with serve(cors_origins="https://good.example") as service:
        answer = await service.client.options("/v1/agent/execute", headers=asked)
        assert "access-control-allow-origin" not in answer.headers
        good = {**asked, "Origin": "https://good.example"}
        answer = await service.client.options("/v1/agent/execute", headers=good)
        assert answer.headers["access-control-allow-origin"] == "https://good.example"


async def test_names_that_others_own_do_not_lead_to_a_service_without_keys(serve: Serve) -> None:
    """A page of such a name could have it lead to this machine, and read what it likes."""
    fine = (
        "127.0.0.1:8000",
        "localhost:8000",
        "LOCALHOST",
        "[::1]:8000",
        "app.localhost",
        "box",
        "testserver",
        "good.example",
    )
    foreign = ("evil.example:8000", "127.0.0.1.evil.example", "localhost.", "a@evil.example", "evil.example.", "[::1")
    async with serve(cors_origins="https://good.example") as service:

        async def status(host: str, path: str = "/v1/agent/tasks") -> int:
            answer = await service.client.get(path, headers={"Host": host})
            if answer.status_code == 403:
                assert answer.json()["detail"]["code"] == "FOREIGN_HOST"
            return int(answer.status_code)

        assert {host: await status(host) for host in fine} == dict.fromkeys(fine, 200)
        assert {host: await status(host) for host in foreign} == {**dict.fromkeys(foreign, 403), "localhost.": 200}
        assert await status("evil.example", "/chat/") == 403
        port = int(service.url.rpartition(":")[2])
        with pytest.raises(InvalidStatus) as caught:
            async with connect("ws://evil.example/ws/agent/s", host="127.0.0.1", port=port):
                pass
        assert caught.value.response.status_code == 403
    # With keys they are what counts.
    async with serve(api_keys=f"ada:{'a' * 20}") as service:
        answer = await service.client.get("/v1/agent/tasks", headers={"Host": "a.example", "X-API-Key": "a" * 20})
        assert answer.status_code == 200


async def test_braces_and_templates_are_text(service: Any) -> None:
    for task in ("{x} {} {{0}} %s ${y}", "Write a function that prints {name!r} {0.__class__}", "{% raw %}"):
        for path in ("execute", "execute/direct/business", "execute/direct/content"):
            assert (await service.post(path, {"task": task}))["status"] == "completed"
        answer = await service.client.get("/v1/agent/classify", params={"task": task})
        assert answer.status_code == 200


async def test_how_it_is(service: Any) -> None:
    health = (await service.client.get("/health")).json()
    assert health["status"] == "healthy"
    assert health["checks"] == {"redis": "disabled", "store": "healthy", "mongodb": "disabled"}
    info = (await service.client.get("/api/info")).json()
    assert set(info["agent_types"]) >= {"code", "content", "business", "problem"}
    assert len(info["endpoints"]) == 8
    root = (await service.client.get("/")).json()
    assert root["api_prefix"] == "/v1"
    assert len(root["websocket_endpoints"]) == 2
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert (await service.client.get(path)).status_code == 200
    seen = (await service.client.get("/v1/agent/classify", params={"task": SQL["task"]})).json()
    assert (seen["agent"], seen["routing_method"], seen["keyword_match"]) == ("code_agent", "keyword", True)


async def test_the_page_is_served_and_may_load_nothing_from_elsewhere(service: Any) -> None:
    page = await service.client.get("/chat/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("chat.js", "chat.css"):
        assert f'"{name}"' in page.text
        assert (await service.client.get(f"/chat/{name}")).status_code == 200
    script = (await service.client.get("/chat/chat.js")).text
    assert "innerHTML" not in script
    assert (await service.client.get("/chat/../settings.py")).status_code == 404
