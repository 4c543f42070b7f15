from __future__ import annotations

import random
from textwrap import dedent

import pytest

from playground.protocol import FlowInfo, NodeInfo
from playground.render.layers import lay_out
from playground.render.topology import draw_graph, graph_lines


def edges_of(*pairs: str) -> list[tuple[str, str]]:
    return [(source, target) for source, _, target in (pair.partition(">") for pair in pairs)]


def names_of(edges: list[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for edge in edges for name in edge))


def draw(*pairs: str, width: int | None = None) -> str:
    edges = edges_of(*pairs)
    return "\n".join(draw_graph(names_of(edges), edges, width=width))


def picture(text: str) -> str:
    return dedent(text).strip("\n")


def test_chain() -> None:
    drawn = draw("OpenSea>greet", "greet>Rookery")

    assert drawn == picture("""
        ( OpenSea )
             │
             ▼
         ┌───────┐
         │ greet │
         └───┬───┘
             │
             ▼
        ( Rookery )
        """)


def test_branches_share_one_line_out_and_one_line_in() -> None:
    drawn = draw("route>billing", "route>technical", "route>general", "billing>join", "technical>join", "general>join")

    assert drawn == picture("""
                        ┌───────┐
                        │ route │
                        └───┬───┘
             ┌──────────────┼──────────────┐
             ▼              ▼              ▼
        ┌─────────┐   ┌───────────┐   ┌─────────┐
        │ billing │   │ technical │   │ general │
        └────┬────┘   └─────┬─────┘   └────┬────┘
             └──────────────┼──────────────┘
                            ▼
                        ┌──────┐
                        │ join │
                        └──────┘
        """)


def test_long_edge_passes_beside_the_nodes_between() -> None:
    drawn = draw("walk>read", "read>report", "walk>report")

    assert drawn == picture("""
            ┌──────┐
            │ walk │
            └───┬──┘
            ┌───┴──┐
            ▼      │
        ┌──────┐   │
        │ read │   │
        └───┬──┘   │
            └───┬──┘
                ▼
           ┌────────┐
           │ report │
           └────────┘
        """)


def test_lines_that_cross_without_meeting_show_no_junction() -> None:
    drawn = draw("a>x", "a>y", "b>y", "b>z", "c>z", "c>x")

    assert drawn == picture("""
        ┌───┐   ┌───┐   ┌───┐
        │ a │   │ b │   │ c │
        └─┬─┘   └─┬─┘   └─┬─┘
         ┌┴──────┐│       │
         ├───────│┴──────┐│
         │       ├───────┼┘
         ▼       ▼       ▼
        ┌───┐   ┌───┐   ┌───┐
        │ y │   │ x │   │ z │
        └───┘   └───┘   └───┘
        """)


def test_cycle_and_loop_are_named_below_the_drawing() -> None:
    edges = edges_of("OpenSea>draft", "draft>review", "review>draft", "review>review", "review>Rookery")
    flow = FlowInfo(target="x.py", name="x", edges=edges, nodes=[NodeInfo(name="draft"), NodeInfo(name="review")])

    lines = graph_lines(flow)

    assert "│ review ↺ │" in "\n".join(lines)
    assert lines[-2:] == ["↺ review → draft", "↺ review → review"]


def test_too_wide_or_too_many_becomes_a_list() -> None:
    drawn = draw("root>one", "root>two", width=10)

    assert drawn == picture("""
        root
          ├─▶ one
          └─▶ two
        one
        two
        """)
    many = edges_of(*(f"n{number}>n{number + 1}" for number in range(100)))
    assert draw_graph(names_of(many), many)[:2] == ["n0", "  └─▶ n1"]


def test_wide_characters_keep_the_box_closed() -> None:
    from playground.dashboard.text import cells

    lines = draw_graph(["日本語"], [])

    assert len({cells(line) for line in lines}) == 1


def test_control_characters_never_reach_the_drawing() -> None:
    flow = FlowInfo(target="x.py", name="x", nodes=[NodeInfo(name="a\x1b[31m\nb", input_type="T\x07")])

    text = "\n".join(graph_lines(flow))

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "a␛[31m␤b" in text


def test_table_names_types_and_policies_that_differ() -> None:
    policy = {"validate": "both", "timeout_s": 0.5, "max_retries": 3, "max_concurrency": 8}
    nodes = [
        NodeInfo(name="route", input_type="Ticket", output_type="Ticket", policy={"max_retries": 0}),
        NodeInfo(name="technical", input_type="Ticket", output_type="Answer", policy=policy),
    ]

    lines = graph_lines(FlowInfo(target="x.py", name="x", nodes=nodes, edges=[("route", "technical")]))

    assert lines[-2:] == [
        "route      Ticket → Ticket",
        "technical  Ticket → Answer  timeout 0.5 s, 3 retries, 8 at once",
    ]


def test_empty_flow() -> None:
    assert graph_lines(FlowInfo(target="x.py", name="x")) == ["(no nodes)"]


@pytest.mark.parametrize("seed", range(25))
def test_any_graph_is_drawn_the_same_twice_and_complete(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"node{number}" for number in range(rng.randint(1, 14))]
    edges = [(rng.choice(names), rng.choice(names)) for _ in range(rng.randint(0, 24))]

    layout = lay_out(names, edges)
    lines = draw_graph(names, edges, width=10_000)

    assert lines == draw_graph(names, edges, width=10_000)
    assert sorted(name for row in layout.rows for name in row if name not in layout.stand_ins) == sorted(names)
    level = {name: number for number, row in enumerate(layout.rows) for name in row}
    assert all(level[target] == level[source] + 1 for source, target in layout.edges)
    text = "\n".join(lines)
    assert all(text.count(f"│ {name} ") == 1 for name in names)
    entered = {target for _, target in layout.edges} - layout.stand_ins
    assert text.count("▼") == len(entered)
