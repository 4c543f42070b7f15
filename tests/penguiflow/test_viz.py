"""Pictures of flows: complete, deterministic, and readable by those who draw them."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penguiflow import create, flow_to_dot, flow_to_mermaid

if TYPE_CHECKING:
    from tests.conftest import MakeNode

EVIL = ['c"q"', "a]b[c](d)", "x\ny", "日本", "a --> b", "<b>&amp;</b>", "back\\slash", "{json: `1`}", "#35;", "end", ""]

Graph = tuple[dict[str, str], list[tuple[str, str, str]]]
"""Labels by id, and the edges with their labels."""


def read_mermaid(text: str) -> Graph:
    """The nodes and edges of a flowchart; whatever is no line of one is a failure."""
    labels: dict[str, str] = {}
    edges: list[tuple[str, str, str]] = []
    first, *lines = text.split("\n")
    assert re.fullmatch(r"graph [A-Z]{2}", first)
    for line in lines:
        if node := re.fullmatch(r'    (\w+)\["([^"]*)"\]', line, re.ASCII):
            assert node[1] not in labels
            labels[node[1]] = re.sub(r"#(\d+);", lambda entity: chr(int(entity[1])), node[2])
        elif edge := re.fullmatch(r"    (\w+) -->(?:\|(\w+)\|)? (\w+)", line, re.ASCII):
            edges.append((edge[1], edge[3], edge[2] or ""))
        else:
            assert re.fullmatch(r"    (classDef \w+ [\w#:,-]+|class \w+ \w+)", line, re.ASCII)
    return labels, edges


def read_dot(text: str) -> Graph:
    """The nodes and edges of a digraph; whatever is no line of one is a failure."""
    labels: dict[str, str] = {}
    edges: list[tuple[str, str, str]] = []
    lines = text.split("\n")
    assert lines[0] == "digraph PenguiFlow {"
    assert re.fullmatch(r"    rankdir=[A-Z]{2}", lines[1])
    assert (lines[2], lines[-1]) == ("    node [shape=box, style=rounded]", "}")
    for line in lines[3:-1]:
        if node := re.fullmatch(r'    (\w+) \[label="((?:[^"\\]|\\.)*)"[^"\\]*(?:"[\w#,]+"[^"\\]*)*\]', line, re.ASCII):
            assert node[1] not in labels
            labels[node[1]] = re.sub(r"\\(.)", r"\1", node[2])
        else:
            edge = re.fullmatch(r'    (\w+) -> (\w+)(?: \[label="(\w+)"\])?', line, re.ASCII)
            assert edge, line
            edges.append((edge[1], edge[2], edge[3] or ""))
    return labels, edges


def test_a_loop_with_its_ends(make_node: MakeNode) -> None:
    think = make_node(name="think", allow_cycle=True)
    flow = create(think.to(think))
    assert flow_to_mermaid(flow, direction="LR").split("\n") == [
        "graph LR",
        '    OpenSea["OpenSea"]',
        '    think["think"]',
        '    Rookery["Rookery"]',
        "    classDef controller_loop fill:#fef3c7,stroke:#b45309,stroke-width:1px,color:#78350f",
        "    class think controller_loop",
        "    classDef endpoint fill:#e0f2fe,stroke:#0369a1,stroke-width:1px,color:#0c4a6e",
        "    class OpenSea endpoint",
        "    class Rookery endpoint",
        "    OpenSea -->|ingress| think",
        "    think -->|loop| think",
        "    think -->|egress| Rookery",
    ]
    dot = flow_to_dot(flow, rankdir="LR")
    assert "    rankdir=LR\n" in dot
    for label in ("ingress", "loop", "egress"):
        assert f'[label="{label}"]' in dot
    assert '    OpenSea [label="OpenSea", shape=oval, style="filled", fillcolor="#e0f2fe"]\n' in dot
    assert '    think [label="think", style="rounded,filled", fillcolor="#fef3c7"]\n' in dot


def test_only_used_classes_are_defined(make_node: MakeNode) -> None:
    a, b = make_node(name="a"), make_node(name="b", allow_cycle=True)
    assert "controller_loop" not in flow_to_mermaid(create(a.to()))
    # A node that may loop is one, even where it has no edge to itself.
    assert "    class b controller_loop" in flow_to_mermaid(create(a.to(b)))
    assert flow_to_mermaid(create()) == "graph TD"


def test_names_survive_whatever_they_contain(make_node: MakeNode) -> None:
    nodes = [make_node(name=name) for name in EVIL]
    flow = create(*(one.to(other) for one, other in itertools.pairwise(nodes)))
    expected = ["OpenSea", *(name.replace("\n", " ") for name in EVIL), "Rookery"]
    for labels, edges in (read_mermaid(flow_to_mermaid(flow)), read_dot(flow_to_dot(flow))):
        assert list(labels.values()) == expected
        ids = list(labels)
        assert sorted(edges) == sorted(
            (source, target, "ingress" if source == "OpenSea" else "egress" if target == "Rookery" else "")
            for source, target in itertools.pairwise(ids)
        )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), unique=True, max_size=6))
def test_any_names_make_a_picture(make_node: MakeNode, names: list[str]) -> None:
    names = [name for name in names if name not in ("OpenSea", "Rookery")]
    flow = create(*(make_node(name=name).to() for name in names))
    expected = ["".join(char if char.isprintable() else " " for char in name) for name in names]
    for labels, edges in (read_mermaid(flow_to_mermaid(flow)), read_dot(flow_to_dot(flow))):
        assert list(labels.values()) == (["OpenSea", *expected, "Rookery"] if names else [])
        assert len(edges) == 2 * len(names)


def test_a_direction_is_checked(make_node: MakeNode) -> None:
    flow = create(make_node(name="a").to())
    with pytest.raises(ValueError, match="direction"):
        flow_to_mermaid(flow, direction="TD\n    click a evil")
    with pytest.raises(ValueError, match="direction"):
        flow_to_dot(flow, rankdir="TB]")


def test_every_process_draws_the_same_picture() -> None:
    script = """
from penguiflow import Node, NodePolicy, create, flow_to_dot, flow_to_mermaid
async def f(message, ctx): ...
a, b, c, d, e = (Node(f, name=name, policy=NodePolicy(validate="none")) for name in ("b", "a", "d", "c", "a b"))
flow = create(a.to(d, c, b), b.to(e), c.to(e), d.to(e))
print(flow_to_mermaid(flow), flow_to_dot(flow))
"""
    pictures = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(pictures) == 1
    assert pictures.pop().index('b["b"]') > 0
