from __future__ import annotations

import re

from playground.protocol import FlowInfo, NodeInfo
from playground.render.diagrams import flow_to_dot, flow_to_mermaid, stable_ids


def flow_of(names: list[str], edges: list[tuple[str, str]]) -> FlowInfo:
    return FlowInfo(target="x.py", name="x", nodes=[NodeInfo(name=name) for name in names], edges=edges)


def test_mermaid_of_a_loop() -> None:
    flow = flow_of(["think"], [("OpenSea", "think"), ("think", "think"), ("think", "Rookery")])

    assert flow_to_mermaid(flow).splitlines() == [
        "graph TD",
        '    OpenSea(["OpenSea"])',
        '    think["think"]',
        '    Rookery(["Rookery"])',
        "    classDef controller_loop fill:#fef3c7,stroke:#b45309,stroke-width:1px,color:#78350f",
        "    class think controller_loop",
        "    classDef endpoint fill:#e0f2fe,stroke:#0369a1,stroke-width:1px,color:#0c4a6e",
        "    class OpenSea endpoint",
        "    class Rookery endpoint",
        "    OpenSea -->|ingress| think",
        "    think -->|loop| think",
        "    think -->|egress| Rookery",
    ]


def test_dot_of_a_chain() -> None:
    flow = flow_of(["a", "b"], [("OpenSea", "a"), ("a", "b"), ("b", "Rookery")])

    assert flow_to_dot(flow).splitlines() == [
        "digraph PenguiFlow {",
        "    rankdir=TB",
        "    node [shape=box, style=rounded]",
        '    OpenSea [label="OpenSea", shape=oval, style="filled", fillcolor="#e0f2fe"]',
        '    a [label="a"]',
        '    b [label="b"]',
        '    Rookery [label="Rookery", shape=oval, style="filled", fillcolor="#e0f2fe"]',
        '    OpenSea -> a [label="ingress"]',
        "    a -> b",
        '    b -> Rookery [label="egress"]',
        "}",
    ]


def test_labels_are_escaped() -> None:
    evil = 'c"q"] --> x\n    click y\\'
    flow = flow_of([evil], [])

    mermaid = flow_to_mermaid(flow).splitlines()
    dot = flow_to_dot(flow).splitlines()

    assert len(mermaid) == 2
    assert mermaid[1].count('"') == 2
    assert "c#34;q#34;#93; --#62; x     click y#92;" in mermaid[1]
    assert r'[label="c\"q\"] --> x     click y\\"]' in dot[3]


def test_ids_are_unique_valid_and_not_reserved() -> None:
    names = ["a b", "a-b", "a_b", "", "end", "End", "2nd", "日本", "graph"]

    ids = stable_ids(names)

    assert ids == stable_ids(names)
    assert len({name.lower() for name in ids.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z_][0-9A-Za-z_]*", name) for name in ids.values())
    assert not {"end", "graph", "node"} & {ids["end"], ids["End"], ids["graph"]}


def test_a_node_that_only_an_edge_names_is_drawn() -> None:
    assert '    hidden["hidden"]' in flow_to_mermaid(flow_of(["a"], [("a", "hidden")]))


def test_a_planner_has_its_tools() -> None:
    flow = flow_of(["find"], [("OpenSea", "find"), ("find", "Rookery")]).model_copy(update={"tools": ["find", "a b"]})
    assert flow_to_mermaid(flow).splitlines()[-4:] == [
        '    tool_find[["find"]]',
        "    find -.-> tool_find",
        '    tool_a_b[["a b"]]',
        "    find -.-> tool_a_b",
    ]
    assert flow_to_dot(flow).splitlines()[-3:] == [
        '    tool_a_b [label="a b", shape=component, style=""]',
        "    find -> tool_a_b [style=dotted]",
        "}",
    ]
