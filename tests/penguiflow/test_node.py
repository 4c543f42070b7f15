"""What a node refuses, and what it is known by."""

from __future__ import annotations

import math
from typing import Any

import pytest

from penguiflow import Context, Node, NodePolicy
from penguiflow.node import MAX_BACKOFF_S


async def fetch_page(message: Any, ctx: Context) -> Any:
    return message


def test_a_node_is_known_by_its_function() -> None:
    node = Node(fetch_page)
    assert node.name == "fetch_page"
    assert node.policy == NodePolicy()
    assert node.allow_cycle is False
    assert len(node.node_id) == 32
    assert Node(fetch_page, name="page").name == "page"


def test_a_node_is_shown_by_its_name() -> None:
    node = Node(fetch_page)
    assert repr(node) == f"Node(name='fetch_page', node_id='{node.node_id}')"


def test_nodes_are_compared_by_identity_not_by_name() -> None:
    first, second = Node(fetch_page), Node(fetch_page)
    assert first != second
    assert first == first
    assert first != "fetch_page"
    assert len({first, second, first}) == 2


def test_to_names_the_successors() -> None:
    first, second, third = (Node(fetch_page, name=name) for name in "abc")
    assert first.to(second, third) == (first, (second, third))
    assert first.to() == (first, ())


def test_policies_are_not_shared() -> None:
    first, second = Node(fetch_page), Node(fetch_page)
    first.policy.max_retries = 5
    assert second.policy.max_retries == 0


class Callable:
    async def __call__(self, message: Any, ctx: Context) -> Any:
        return message

    async def method(self, message: Any, ctx: Context) -> Any:
        return message


def synchronous(message: Any, ctx: Context) -> Any:
    return message


@pytest.mark.parametrize("func", [synchronous, Callable(), lambda message, ctx: message, print, Callable])
def test_only_async_functions_are_nodes(func: Any) -> None:
    with pytest.raises(TypeError, match="Node function must be declared with async def"):
        Node(func, name="x")


def test_a_function_that_is_no_node_is_named() -> None:
    with pytest.raises(TypeError, match="async def: synchronous is not"):
        Node(synchronous)


def test_a_bound_method_is_a_node() -> None:
    assert Node(Callable().method).name == "method"


async def no_parameter() -> None: ...


async def one(message: Any) -> None: ...


async def three(message: Any, ctx: Context, more: Any = None) -> None: ...


async def keyword_only(message: Any, *, ctx: Context) -> None: ...


@pytest.mark.parametrize(("func", "count"), [(no_parameter, 0), (one, 1), (three, 3)])
def test_two_parameters_are_needed(func: Any, count: int) -> None:
    with pytest.raises(ValueError, match="must accept exactly two parameters") as refused:
        Node(func)
    assert str(refused.value) == (
        f"Node '{func.__name__}' must accept exactly two parameters (message, ctx); got {count}"
    )


def test_the_context_comes_by_position() -> None:
    with pytest.raises(ValueError, match="Context parameter must be positional"):
        Node(keyword_only)


def test_the_policy_checks_itself() -> None:
    with pytest.raises(ValueError, match="validate must be one of 'both', 'in', 'out', 'none'"):
        NodePolicy(validate="sometimes")
    with pytest.raises(ValueError, match="max_concurrency must be at least 1"):
        NodePolicy(max_concurrency=0)
    defaults = NodePolicy()
    assert (defaults.validate, defaults.timeout_s, defaults.max_retries) == ("both", None, 0)
    assert (defaults.backoff_base, defaults.backoff_mult, defaults.max_backoff) == (0.5, 2.0, None)


def test_numbers_that_penguiflow_3_took_for_no_limit_are_taken() -> None:
    policy = NodePolicy(timeout_s=math.inf, max_backoff=math.inf, max_retries=-1, backoff_mult=10.0)
    assert policy.backoff(3) == 50.0
    assert policy.backoff(400) == MAX_BACKOFF_S


@pytest.mark.parametrize("name", ["timeout_s", "backoff_base", "backoff_mult", "max_backoff"])
def test_a_time_is_a_number_that_is_not_negative(name: str) -> None:
    wrong: dict[str, Any] = {name: -1.0}
    for wrong[name] in (-1.0, math.nan):
        with pytest.raises(ValueError, match=f"{name} must be a number that is not negative"):
            NodePolicy(**wrong)
    if name.startswith("backoff"):
        wrong[name] = math.inf
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            NodePolicy(**wrong)
