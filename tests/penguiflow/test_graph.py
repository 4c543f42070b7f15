"""What a graph refuses, and which of its edges are bounded."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow import Context, CycleError, Node, PenguiFlow, create

if TYPE_CHECKING:
    from tests.conftest import MakeNode, Start


async def first_func(message: Any, ctx: Context) -> Any:
    return message


async def second_func(message: Any, ctx: Context) -> Any:
    return message


def test_two_nodes_of_one_name_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Two nodes are named 'same'.*first_func.*second_func.*name="):
        create(Node(first_func, name="same").to(Node(second_func, name="same")))


def test_one_function_for_two_nodes_needs_a_second_name() -> None:
    with pytest.raises(ValueError, match="Two nodes are named 'first_func'"):
        create(Node(first_func).to(Node(first_func)))
    flow = create(Node(first_func).to(Node(first_func, name="again")))
    assert [node.name for node in flow.nodes] == ["first_func", "again"]


def test_what_is_no_adjacency_says_what_was_meant() -> None:
    lone: Any = Node(first_func, name="lone")
    with pytest.raises(TypeError, match=r"got the node 'lone' itself: write lone\.to\(\)"):
        create(lone)
    wrong: Any
    for wrong in ([lone.to()], (lone, lone), (lone, ["other"]), (lone, 5), None, "lone"):
        with pytest.raises(TypeError, match="an adjacency is a node with its successors"):
            create(wrong)


def test_one_node_may_be_named_many_times() -> None:
    top, left, right, end = (Node(first_func, name=name) for name in ("top", "left", "right", "end"))
    flow = create(top.to(left, right), top.to(left), left.to(end), right.to(end))
    assert [node.name for node in flow.nodes] == ["top", "left", "right", "end"]
    # Nor are the names of another flow in the way.
    create(top.to(), Node(second_func, name="left").to())


def bounds(flow: PenguiFlow) -> dict[str, int]:
    return {floe.name: floe.maxsize for floe in flow._graph.floes}


def test_only_the_edge_that_closes_a_cycle_is_unbounded(make_node: MakeNode) -> None:
    a, b, c = (make_node(name=name) for name in "abc")
    end = make_node(name="end")
    flow = create(a.to(b), b.to(c, end), c.to(b), queue_maxsize=5, allow_cycles=True)
    assert bounds(flow) == {"OpenSea->a": 5, "a->b": 5, "b->c": 5, "b->end": 5, "c->b": 0, "end->Rookery": 5}
    loop = make_node(name="loop", allow_cycle=True)
    assert bounds(create(loop.to(loop, end), queue_maxsize=5))["loop->loop"] == 0


def test_a_long_chain_is_no_deep_recursion(make_node: MakeNode) -> None:
    nodes = [make_node(name=f"n{number}") for number in range(3000)]
    flow = create(*(node.to(after) for node, after in itertools.pairwise(nodes)))
    assert 0 not in bounds(flow).values()


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, set[tuple[int, int]]]:
    count = draw(st.integers(1, 7))
    node = st.integers(0, count - 1)
    return count, draw(st.sets(st.tuples(node, node), max_size=20))


@settings(derandomize=True, database=None)
@given(graph=graphs())
def test_no_cycle_is_bounded_all_round_and_no_other_edge_is_unbounded(graph: tuple[int, set[tuple[int, int]]]) -> None:
    count, edges = graph
    nodes = [Node(first_func, name=str(number)) for number in range(count)]
    flow = create(
        *(
            node.to(*(nodes[target] for source, target in sorted(edges) if source == at))
            for at, node in enumerate(nodes)
        ),
        queue_maxsize=3,
        allow_cycles=True,
    )
    floes = [floe for floe in flow._graph.floes if floe.source in nodes and floe.target in nodes]
    bounded: list[tuple[Any, Any]] = [(floe.source, floe.target) for floe in floes if floe.maxsize]
    # What is bounded has no cycle, ...
    create(*(node.to(*(target for source, target in bounded if source is node)) for node in nodes))
    # ... and each edge that is not would close one.
    for floe in floes:
        every = [*bounded, (floe.source, floe.target)]
        if not floe.maxsize:
            with pytest.raises(CycleError):
                create(*(node.to(*(target for source, target in every if source is node)) for node in nodes))


@pytest.mark.parametrize("size", [2, 3])
async def test_nodes_of_a_cycle_do_not_wait_for_each_other(start: Start, make_node: MakeNode, size: int) -> None:
    """Each sends more to the next one than their edges hold."""
    handled = 0

    async def multiply(value: int, ctx: Context) -> None:
        nonlocal handled
        handled += 1
        if value:
            following = nodes[(nodes_by_name[str(ctx.owner.name)] + 1) % size]
            for _ in range(4):
                await ctx.emit(value - 1, to=following)

    entry = make_node(multiply, name="entry")
    nodes = [make_node(multiply, name=f"n{number}") for number in range(size)]
    nodes_by_name = {"entry": size - 1, **{str(node.name): number for number, node in enumerate(nodes)}}
    ring = [node.to(nodes[(number + 1) % size]) for number, node in enumerate(nodes)]
    flow = start(create(entry.to(nodes[0]), *ring, queue_maxsize=1, allow_cycles=True))
    await flow.call(5, timeout=60)
    assert handled == sum(4**depth for depth in range(6))
