"""The lines of the table of figures: what each is, where it comes from, and who is measured."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LINES", "NAMES", "ONCE", "SLOW", "WORKLOADS", "Line"]

NAMES = {
    "ours": "penguiflow",
    "forerunner": "3.11.2",
    "limit_a": "limit (a)",
    "limit_b": "limit (b)",
    "limit_c": "limit (c)",
    "langgraph": "langgraph",
    "pydantic_graph": "pydantic-graph",
    "llama_index": "llama-index-workflows",
    "burr": "burr",
}
"""Who is measured, and what the tables call them."""


class Line(NamedTuple):
    """One line of the table."""

    name: str
    what: str
    workload: str
    figure: str = "cpu_us"
    unit: str = "µs"


LINES = [
    Line("W1", "chain of 5, 64 in flight", "W1"),
    Line("", "nodes registered for `Message`", "W1.message"),
    Line("", "bare payloads", "W1.bare"),
    Line("", "64 callers of `flow.call`", "W1.call"),
    Line("", "one in flight, p50", "W1.one", "p50_us"),
    Line("", "one in flight, registered for `Message`, p50", "W1.one.message", "p50_us"),
    Line("", "one in flight, bare payloads, p50", "W1.bare.one", "p50_us"),
    Line("W2", "fan-out to 50 and join, 8 rounds in flight", "W2"),
    Line("W3", "stream of 1,000 chunks", "W3"),
    Line("", "first chunk, p50", "W3", "p50_us"),
    Line("", "stream through `flow.stream`", "W3.stream"),
    Line("", "first chunk through `flow.stream`, p50", "W3.stream", "p50_us"),
    Line("W4", "router with 10 targets", "W4"),
    Line("W5", "controller loop of 20", "W5"),
    Line("W6", "10,000 in a node that sleeps 50 ms", "W6", "wall_s", "s"),
    Line("", "memory of each", "W6", "kb", "KB"),
    Line("", "most at once", "W6", "most", ""),
    Line("W7", "cancel one of 1,000, p50", "W7", "p50_us"),
    Line("", "cancel one of 1,000 that wait, p50", "W7", "queued_1000_p50_us"),
    Line("", "cancel one of 100,000 that wait, p50", "W7", "queued_100000_p50_us"),
    Line("W8", "W1 with a listener", "W8"),
    Line("", "one event", "W8", "event_us"),
    Line("", "W1 again, nobody listens", "W8.quiet"),
    Line("W9", "W1, every event durable in SQLite", "W9"),
    Line("", "as many events as penguiflow writes", "W9.all"),
    Line("W10", "`import penguiflow`", "W10", "import_ms", "ms"),
    Line("", "with the names of a first flow", "W10", "names_ms", "ms"),
    Line("", "distributions of a plain install", "W10", "distributions", ""),
    Line("", "size of a plain install", "W10", "megabytes", "MB"),
    Line("W11", "one retry and one timeout", "W11"),
    Line("W12", "playbook of two nodes", "W12"),
    Line("D9", "20 messages that wait 50 ms in one node", "D9", "wall_s", "s"),
    Line("D27", "kept of a finished roundtrip", "D27", "kept_bytes", "bytes"),
    Line("D28", "asyncio tasks a message in W1", "D28", "tasks", ""),
    Line("D29", "message into a fan-in of 1 edge", "D29", "fan_1_us"),
    Line("", "of 10", "D29", "fan_10_us"),
    Line("", "of 50", "D29", "fan_50_us"),
    Line("", "of 100", "D29", "fan_100_us"),
    Line("D30", "message, with a store that takes 10 ms an event", "D30", "wall_ms", "ms"),
    Line("D31", "hop of a loop without budgets, no facts", "D31", "facts_0_us"),
    Line("", "1,000 facts", "D31", "facts_1000_us"),
    Line("D32", "event to the store in memory", "D32", "event_us"),
    Line("", "kept of a trace beyond 10,000", "D32", "trace_kb", "KB"),
    Line("memory", "growth from 10,000 traces to a million", "memory", "grown_mb", "MB"),
]
"""D33 and D34 are what W10 says of the forerunner."""

WORKLOADS = list(dict.fromkeys(line.workload for line in LINES))
SLOW = frozenset({"memory"})
"""Measured only when they are named, or for the documentation."""
ONCE = frozenset({(peer, "W6") for peer in ("langgraph", "pydantic_graph", "llama_index")} | {("ours", "memory")})
"""Take so long, half a minute each, that they are measured in the first round only."""
