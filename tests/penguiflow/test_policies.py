"""Policies: tables of decisions, where they come from, and what they are asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from penguiflow import Context, DictRoutingPolicy, Message, RoutingRequest, create, predicate_router
from penguiflow.policies import evaluate_policy

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start


@pytest.fixture
def request_for(make_node: MakeNode, make_message: MakeMessage) -> Any:
    def make(trace_id: str | None = "t", payload: Any = None) -> RoutingRequest:
        message = make_message(payload) if trace_id is None else make_message(payload, trace_id=trace_id)
        proposed = (make_node(name="a"), make_node(name="b"))
        return RoutingRequest(message, cast("Context", None), make_node(name="router"), proposed, trace_id)

    return make


def test_a_request_knows_its_names(request_for: Any) -> None:
    request = request_for()
    assert (request.node_name, request.proposed_names) == ("router", ("a", "b"))


def test_a_table_is_looked_up_by_trace(request_for: Any) -> None:
    policy = DictRoutingPolicy({"t": "a"}, default="b")
    assert [policy.select(request_for(trace_id)) for trace_id in ("t", "other", None)] == ["a", "b", "b"]
    assert DictRoutingPolicy({}).select(request_for()) is None


def test_a_table_may_drop_what_the_default_would_send(request_for: Any) -> None:
    assert DictRoutingPolicy({"t": None}, default="b").select(request_for()) is None


def test_a_key_can_be_anything_of_the_request(request_for: Any) -> None:
    policy = DictRoutingPolicy({"gold": ["a", "b"]}, default="a", key_getter=lambda request: request.message.payload)
    assert policy.select(request_for(payload="gold")) == ["a", "b"]
    assert policy.select(request_for(payload=None)) == "a"


def test_a_table_can_be_changed_while_it_is_used(request_for: Any) -> None:
    mapping = {"t": "a", "kept": "a"}
    policy = DictRoutingPolicy(cast("dict[str, Any]", mapping))
    mapping["t"] = "changed behind its back"
    assert policy.select(request_for()) == "a"
    policy.update_mapping({"t": "b"})
    policy.set_default("c")
    assert [policy.select(request_for(trace_id)) for trace_id in ("t", "kept", "other")] == ["b", "a", "c"]


def test_a_table_from_json(request_for: Any, tmp_path: Path) -> None:
    text = json.dumps({"t": "é"}, ensure_ascii=False)
    assert DictRoutingPolicy.from_json(text, default="b").select(request_for()) == "é"
    file = tmp_path / "policy.json"
    file.write_text(text, encoding="utf-8")
    for path in (file, str(file)):
        assert DictRoutingPolicy.from_json_file(path).select(request_for()) == "é"
    with pytest.raises(TypeError, match="JSON payload must decode to a mapping"):
        DictRoutingPolicy.from_json("[]")
    with pytest.raises(ValueError, match="Expecting"):
        DictRoutingPolicy.from_json("{")


def test_a_table_from_the_environment(request_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICY", '{"t": "a"}')
    assert DictRoutingPolicy.from_env("POLICY").select(request_for()) == "a"
    loaded = DictRoutingPolicy.from_env(
        "POLICY", loader=lambda text: {text: "b"}, default="d", key_getter=lambda request: '{"t": "a"}'
    )
    assert loaded.select(request_for()) == "b"
    with pytest.raises(TypeError, match="Policy loader must return a mapping"):
        DictRoutingPolicy.from_env("POLICY", loader=cast("Any", list))
    monkeypatch.delenv("POLICY")
    with pytest.raises(KeyError, match="Environment variable 'POLICY' not set"):
        DictRoutingPolicy.from_env("POLICY")


async def test_objects_functions_and_coroutines_are_policies(request_for: Any) -> None:
    class Later:
        async def select(self, request: RoutingRequest) -> str:
            return request.node_name

    async def later(request: RoutingRequest) -> list[str]:
        return list(request.proposed_names)

    request = request_for()
    assert await evaluate_policy(Later(), request) == "router"
    assert await evaluate_policy(later, request) == ["a", "b"]
    assert await evaluate_policy(lambda request: None, request) is None
    assert await evaluate_policy(DictRoutingPolicy({"t": "a"}), request) == "a"


async def test_a_changed_table_changes_the_next_route(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def mark(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": ctx.owner.name})

    policy = DictRoutingPolicy({}, default="a", key_getter=lambda request: request.message.headers.tenant)
    router = predicate_router("router", lambda message: ["a", "b"], policy=policy)
    flow = start(create(router.to(make_node(mark, "a"), make_node(mark, "b"))))
    assert (await flow.call(make_message(1))).payload == "a"
    policy.update_mapping({"acme": "b"})
    assert (await flow.call(make_message(1))).payload == "b"
    policy.update_mapping({"acme": None})
    assert await flow.call(make_message(1)) is None
