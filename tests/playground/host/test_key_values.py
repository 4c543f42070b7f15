"""What tools keep in a session is looked at and changed by clients, while a run has stopped and between runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from penguiflow.state import InMemoryStateStore
from playground.again import ReplayOrder
from playground.breakpoints import FILE_NAME, Breakpoint
from playground.host.key_values import MAX_LISTED_BYTES, KeyValues
from playground.protocol import (
    Accepted,
    Breakpoints,
    Decide,
    Error,
    Events,
    Hello,
    Kv,
    KvEdit,
    KvGet,
    Result,
    Run,
    Stopped,
)

if TYPE_CHECKING:
    from tests.playground.host.conftest import Peer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECT = """
from pydantic import BaseModel
from penguiflow import ModelRegistry, Node
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner


class Number(BaseModel):
    n: int


async def visit(args: Number, ctx) -> Number:
    seen = await ctx.kv.get("visits", namespace="shop") or {}
    found = await ctx.kv.patch("visits", {"count": seen.get("count", 0) + args.n}, namespace="shop")
    await ctx.kv.get_or_init("login", {"user": "Ada", "password": "hunter22-of-ada"})
    return Number(n=found["count"])


async def look(args: Number, ctx) -> Number:
    return args


SCRIPT = [
    {"next_node": "visit", "args": {"n": 1}},
    {"next_node": "look", "args": {"n": 1}},
    {"next_node": "visit", "args": {"n": 1}},
    {"next_node": "final_response", "args": {"answer": "done"}},
]


def make_planner() -> ReactPlanner:
    registry = ModelRegistry()
    registry.register("visit", Number, Number)
    registry.register("look", Number, Number)
    nodes = [Node(visit), Node(look)]
    return ReactPlanner(ScriptedModel(rules=[(lambda _: True, SCRIPT)]), name="shop", nodes=nodes, registry=registry)
"""
PLANNER = "app.py:make_planner"
SECRET = "hunter22-of-ada"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept")
    (path / "app.py").write_text(PROJECT)
    return path


@pytest_asyncio.fixture(loop_scope="module")
async def client(root: Path, serving: Any) -> AsyncIterator[Peer]:
    (root / "state" / FILE_NAME).unlink(missing_ok=True)
    async with serving(root, hold_s=600.0) as served, served.connect() as socket:
        peer = served.peer(socket)
        await peer.send(Hello(client="tester"))
        yield peer


def asked(session: str) -> dict[str, Any]:
    return {"query": "x", "tool_context": {"tenant_id": "t", "user_id": "u", "session_id": session}}


async def ask(client: Peer, request: Any) -> Any:
    """The answer to a request."""
    request.id = 77
    await client.send(request)
    while (frame := await client.until(Accepted, Error, Kv)).reply_to != 77:
        pass
    return frame


async def entry(client: Peer, session: str, key: str, **place: Any) -> Any:
    [found] = (await ask(client, KvGet(session=session, key=key, **place))).entries
    return found


def events(client: Peer, kind: str) -> list[dict[str, Any]]:
    found = [event for frame in client.frames if isinstance(frame, Events) for event in frame.events]
    return [event for event in found if event["kind"] == kind]


async def test_between_runs_values_are_listed_and_changed(client: Peer) -> None:
    await client.send(Run(target=PLANNER, input=asked("first")))
    assert (await client.until(Result)).status == "ok"
    known = await ask(client, KvGet())
    assert "t:u:first" in known.sessions
    assert known.entries == []
    listed = (await ask(client, KvGet(session="t:u:first"))).entries
    assert [(each.namespace, each.key) for each in listed] == [("", "login"), ("shop", "visits")]
    login, visits = listed
    assert visits.value == {"count": 2}
    assert login.value["user"] == "Ada"
    assert SECRET not in json.dumps([each.model_dump() for each in listed])
    assert login.value["password"]["$secret"].startswith("hmac:")

    edit = KvEdit(session="t:u:first", key="login", etag=login.etag, edits={"/user": "Eve"})
    [changed] = (await ask(client, edit.model_copy())).entries
    assert changed.value == {"user": "Eve", "password": login.value["password"]}
    assert changed.etag != login.etag
    again = await ask(client, edit.model_copy())
    assert (again.code, "somebody else has changed it" in again.message) == ("conflict", True)
    whole = KvEdit(session="t:u:first", key="login", etag=changed.etag, value={**changed.value, "user": "Zoe"})
    [last] = (await ask(client, whole)).entries
    # What stayed hidden is what it was: another run of the tool reads it whole.
    assert last.value["password"] == login.value["password"]

    told = events(client, "memory.changed")[-1]
    assert (told["trace_id"], told["data"]["by"], told["data"]["change"]) == ("host", "tester", "kv.set")
    assert told["data"]["before"]["login"]["user"] == "Eve"
    assert told["data"]["after"]["login"]["user"] == "Zoe"
    assert SECRET not in json.dumps(told)

    gone = KvEdit(session="t:u:first", namespace="shop", key="visits", change="delete", etag=visits.etag)
    assert (await ask(client, gone.model_copy())).entries[0].etag is None
    assert (await ask(client, gone.model_copy())).code == "conflict"
    assert (await entry(client, "t:u:first", "visits", namespace="shop")).etag is None
    new = KvEdit(session="t:u:first", namespace="shop", key="visits", value={"count": 10})
    assert (await ask(client, new.model_copy())).entries[0].value == {"count": 10}
    assert (await ask(client, new.model_copy())).code == "conflict"
    await client.send(Run(target=PLANNER, input=asked("first")))
    await client.until(Result)
    assert (await entry(client, "t:u:first", "visits", namespace="shop")).value == {"count": 12}


async def test_while_a_run_has_stopped_the_next_tool_reads_what_was_put_there(client: Peer) -> None:
    await client.send(Breakpoints(put=[Breakpoint(id="1", on="tool", name="look", once=True)]))
    await client.send(Run(target=PLANNER, input=asked("second")))
    stopped = await client.until(Stopped)
    assert stopped.kv == "t:u:second"
    visits = await entry(client, "t:u:second", "visits", namespace="shop")
    assert visits.value == {"count": 1}
    place = {"session": "t:u:second", "namespace": "shop", "key": "visits"}
    edit = KvEdit.model_validate({**place, "etag": visits.etag, "edits": {"/count": 40}})
    assert (await ask(client, edit)).entries[0].value == {"count": 40}
    assert isinstance(await ask(client, Decide(stop=stopped.stop)), Accepted)
    result = await client.until(Result)
    assert result.status == "ok"
    assert (await entry(client, "t:u:second", "visits", namespace="shop")).value == {"count": 41}

    # It is in the run's own log, with before and after, and a replay has it as it was.
    mine = [event for event in events(client, "edit") if event["trace_id"] == stopped.trace_id]
    assert [(each["data"]["of"], each["data"]["by"]) for each in mine] == [("kv", "tester")]
    assert mine[0]["data"]["before"]["value"] == {"shop": {"visits": {"count": 1}}}
    assert mine[0]["data"]["after"]["value"] == {"shop": {"visits": {"count": 40}}}
    await client.send(Run(id=3, target=PLANNER, replay=ReplayOrder(trace_id=stopped.trace_id)))
    report = (await client.until(Result)).replay
    assert report is not None
    assert (report.refused, report.diverged, report.difference, report.made) == (None, None, "", 0)
    assert (await entry(client, "t:u:second", "visits", namespace="shop")).value == {"count": 41}


async def test_what_cannot_be_is_said(client: Peer) -> None:
    await client.send(Run(target=PLANNER, input=asked("third")))
    await client.until(Result)
    login = await entry(client, "t:u:third", "login")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"session": "t:u", "key": "a"}, "invalid_input"),
        ({"session": "t:u:third", "key": ""}, "invalid_input"),
        ({"session": "t:u:third", "key": "a", "scope": "task"}, "not_found"),
        ({"session": "t:u:third", "key": "none", "change": "delete"}, "not_found"),
        ({"session": "t:u:third", "key": "none", "change": "delete", "etag": "1"}, "conflict"),
        ({"session": "t:u:third", "key": "login", "etag": login.etag, "edits": {"/no/such": 1}}, "invalid_input"),
    ]
    for fields, code in wrong:
        answer = await ask(client, KvEdit.model_validate(fields))
        assert isinstance(answer, Error), fields
        assert answer.code == code, (fields, answer)
    assert (await ask(client, KvGet(session="no session"))).code == "invalid_input"
    assert (await entry(client, "t:u:third", "login")).etag == login.etag
    # A run without an owner has no values to be shown.
    await client.send(Breakpoints(put=[Breakpoint(id="1", on="tool", name="visit", once=True)]))
    await client.send(Run(target=PLANNER, input={"query": "x"}))
    stopped = await client.until(Stopped)
    assert stopped.kv is None
    await ask(client, Decide(stop=stopped.stop, action="abort"))
    await client.until(Result)


class Planner:
    def __init__(self, store: Any) -> None:
        self.settings = self
        self.state_store = store


class Slow(InMemoryStateStore):
    async def load_memory_state(self, key: str) -> Any:
        await asyncio.sleep(0)
        raise OSError("the disk is gone")


async def test_without_a_store_and_with_a_broken_one() -> None:
    alone = KeyValues(list, list, lambda: None, lambda key, data: None)
    assert await alone.do(KvGet(), "x", None) == Kv()
    answer: Any = await alone.do(KvGet(session="t:u:s"), "x", None)
    assert (answer.code, answer.message) == ("not_found", "there is no store here that keeps values")
    broken = KeyValues(lambda: [Planner(Slow())], list, lambda: None, lambda key, data: None)
    answer = await broken.do(KvGet(session="t:u:s", key="a"), "x", None)
    assert (answer.code, answer.message) == ("store", "the disk is gone")


async def test_large_values_are_shown_when_they_are_asked_for() -> None:
    store, told = InMemoryStateStore(), []
    values = KeyValues(list, list, lambda: store, lambda key, data: told.append((key, data)))
    for key, size in (("a", MAX_LISTED_BYTES), ("b", 10)):
        await values.do(KvEdit(session="t:u:s", key=key, value="x" * size), "me", None)
    listed: Any = await values.do(KvGet(session="t:u:s"), "me", None)
    assert [(each.key, each.cut, each.value is None) for each in listed.entries] == [
        ("a", True, True),
        ("b", False, False),
    ]
    one: Any = await values.do(KvGet(session="t:u:s", key="a"), "me", None)
    assert one.entries[0].value == "x" * MAX_LISTED_BYTES
    # What everybody is told of a large one is how large it is.
    assert [(key, data["after"]) for key, data in told] == [
        ("kv:session:t:u:s::a", {"a": {"artifact": None, "bytes": MAX_LISTED_BYTES + 2}}),
        ("kv:session:t:u:s::b", {"b": "x" * 10}),
    ]


async def test_of_two_stores_the_one_that_has_the_session_is_changed() -> None:
    first, second = InMemoryStateStore(), InMemoryStateStore()
    seed = KeyValues(list, list, lambda: second, lambda key, data: None)
    await seed.do(KvEdit(session="t:u:s", key="a", value=1), "me", None)
    values = KeyValues(
        lambda: [Planner(None), Planner(first), Planner(object())], list, lambda: second, lambda *_: None
    )
    found: Any = await values.do(KvGet(session="t:u:s", key="a"), "me", None)
    changed = KvEdit(session="t:u:s", key="a", value=2, etag=found.entries[0].etag)
    assert isinstance(await values.do(changed, "me", None), Kv)
    assert await first.list_memory_states() == []
    await values.do(KvEdit(session="t:u:new", key="a", value=2), "me", None)
    assert await first.list_memory_states() == ["kv:session:t:u:new::a"]
    everywhere: Any = await values.do(KvGet(), "me", None)
    assert everywhere.sessions == ["t:u:new", "t:u:s"]
