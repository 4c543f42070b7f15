"""The short way to `execute` answers as its route does, which takes what is not plainly JSON."""

from __future__ import annotations

from typing import Any

import pytest

from peeragent.models.tasks import new_id

OF_EACH = ("task_id", "session_id", "trace_id")
KEY = "a" * 20

BODIES = [
    b'{"task": "Write a SQL query to find top 10 customers by revenue"}',
    b'{"task": "Write a Python function", "priority": "3", "context": {"data": [1, 2.5, null, {"a": true}]}}',
    b'{"task": "Write a Python function", "priority": 2.0, "session_id": "s-1", "more": 1, "task": "Translate: yes"}',
    b'{"task": "\\u0057rite code, \xc3\xa4\xc3\xb6\xc3\xbc", "context": {"x": 123456789012345678901234567890}}',
    b'{"task": "Write code", "context": {"x": NaN}}',
    b'{"task": "half \\ud83d of a character in Python"}',
    b'{"task": "x"',
    b"",
    b"[]",
    b'"text"',
    b'{"task": ""}',
    b'{"task": "   "}',
    b'{"task": "x", "priority": 4}',
    b'{"task": "x", "priority": 1.5}',
    b'{"task": "x", "session_id": "no spaces"}',
    b'{"task": "x", "context": [1]}',
    b'{"task": 1}',
    b'\xff\xfe{\x00"\x00',
    '{"task": "Write code"}'.encode("utf-16"),
    b"[" * 5000,
]


async def asked(service: Any, body: bytes, kind: str, **headers: str) -> tuple[int, Any, str | None]:
    """Status, body and how long to wait."""
    answer = await service.client.post("/v1/agent/execute", content=body, headers={"Content-Type": kind, **headers})
    told = answer.json()
    if answer.status_code == 200:
        assert answer.headers["content-type"] == "application/json"
        assert told["trace_id"]
        told = {name: value for name, value in told.items() if name not in OF_EACH}
    return answer.status_code, told, answer.headers.get("retry-after")


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_both_ways_answer_alike(service: Any, body: bytes) -> None:
    short = await asked(service, body, "application/json; charset=utf-8")
    assert short == await asked(service, body, "application/peeragent+json")


@pytest.mark.parametrize("kind", ["application/json", "application/peeragent+json"])
async def test_keys_limits_and_headers_are_looked_at_on_both(serve: Any, kind: str) -> None:
    async with serve(rate_limits=True, rate_limit_execute="4/minute", api_keys=f"ada:{KEY}") as service:
        status, told, _ = await asked(service, BODIES[0], kind)
        assert (status, told["detail"]["code"]) == (401, "UNAUTHORIZED")
        known = {"Authorization": f"Bearer {KEY}"}
        for name, value in (("Idempotency-Key", "k" * 201), ("X-Double-Text", "never")):
            status, told, _ = await asked(service, BODIES[0], kind, **known, **{name: value})
            assert (status, told["detail"]["code"]) == (400, "BAD_HEADER")
        key = {"Idempotency-Key": new_id("key")}
        first = await asked(service, BODIES[0], kind, **known, **key)
        assert first[0] == 200
        assert await asked(service, BODIES[0], kind, **known, **key) == first
        status, told, wait = await asked(service, BODIES[0], kind, **known)
        assert (status, told["code"]) == (429, "RATE_LIMITED")
        assert wait is not None


async def test_requests_by_the_short_way_are_counted_under_their_route(service: Any) -> None:
    assert (await asked(service, BODIES[0], "application/json"))[0] == 200
    told = (await service.client.get("/metrics")).text
    assert 'peeragent_http_requests_total{method="POST",route="/v1/agent/execute",status="200"} 1.0' in told


async def test_a_store_that_is_away_is_told_on_both(serve: Any) -> None:
    async with serve(redis_url="redis://127.0.0.1:1/0") as service:
        for kind in ("application/json", "application/peeragent+json"):
            status, told, wait = await asked(service, BODIES[0], kind)
            assert (status, told["detail"]["code"], wait) == (503, "STORAGE_ERROR", "5")
