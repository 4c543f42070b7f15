"""A planner's run, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def _stored(value: Any) -> dict[str, Any]:
    return {"type": "builtins:dict", "value": value}


@pytest.fixture
def research(script: Any) -> Callable[..., Any]:
    """A planner that searches, fetches two pages at once and answers; `origin` makes it a fork."""

    def write(trace_id: str = "5ad5c87d" * 4, *, tool: str = "fetch", ts: float = 1_790_000_000.0, **start: Any) -> Any:
        run = script(trace_id, "research", "flows/research.py", ts=ts, **start)
        message = run.send(run.root, "OpenSea", "research", ("flows.research:Question", {"query": "what"}), "m-in")
        run.ms = 1
        node = run.node("research", message)
        attempt = run.attempt(node)
        planner = run.start("planner", "research", attempt, {"ordinal": 0, "tools": ["search", "fetch", "skim"]})
        for number, (name, args) in enumerate((("search", {"query": "what"}), (tool, {"url": "corpus://a"}))):
            step = run.start("step", "step", planner, {"ordinal": number, "step": number})
            asked = _stored({"messages": [{"role": "user", "content": f"what, step {number}"}]})
            llm = run.start("llm", "scripted", step, {"ordinal": 0, "request": asked})
            run.ms += 10
            run.end(llm, response=_stored({"text": name}))
            decision = {"next_node": name, "args": _stored(args), "thought": f"{name} it"}
            run.event("planner.decision", name, step, planner, decision)
            call = run.start("tool", name, step, {"ordinal": 0, "request": _stored({"tool": name, "args": args})})
            run.ms += 20
            run.end(call, response=_stored({"text": f"what {name} gave"}))
            run.end(step)
        run.end(planner)
        run.end(attempt)
        run.send(node, "research", "Rookery", ("flows.research:Answer", {"text": f"by {tool}"}), "m-out")
        run.end(node)
        run.finish()
        return run

    return write
