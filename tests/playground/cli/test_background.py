"""What a planner leaves to the background, and a host that ends meanwhile."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from playground.__main__ import main
from playground.cli.outputs import TracesOutput

SOURCE = '''
    import asyncio

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create
    from penguiflow.llm import ScriptedModel
    from penguiflow.planner import ReactPlanner
    from penguiflow.planner.memory import MemoryBudget, MemoryKey, ShortTermMemoryConfig

    asked = asyncio.Event()


    class Query(BaseModel):
        text: str


    class Silent(ScriptedModel):
        """Is asked, and never answers."""

        async def complete(self, request, **options):
            asked.set()
            await asyncio.Event().wait()


    async def look(query: Query, ctx) -> Query:
        """Look something up."""
        return query


    tools = ModelRegistry()
    tools.register("look", Query, Query)
    planner = ReactPlanner(
        ScriptedModel([{"next_node": "final_response", "args": {"answer": "told"}}]),
        name="talk",
        nodes=[Node(look)],
        registry=tools,
        summarizer_llm=Silent([]),
        short_term_memory=ShortTermMemoryConfig("rolling_summary", MemoryBudget(full_zone_turns=0)),
    )


    async def answer(query: Query, ctx) -> Query:
        finish = await planner.run(query.text, memory_key=MemoryKey("t", "u", "s"), ctx=ctx)
        await asked.wait()
        return Query(text=finish.payload["raw_answer"])


    flow = create(Node(answer, name="answer").to())
    registry = ModelRegistry()
    registry.register("answer", Query, Query)
'''


def test_a_host_that_ends_cancels_what_is_written_in_the_background(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "talk.py").write_text(dedent(SOURCE))
    assert main(["run", "talk.py:flow", "--session", "s-1", "--input", '{"text": "hello"}', "--quiet"]) == 0
    assert '"told"' in capsys.readouterr().out

    assert main(["traces", "--json"]) == 0
    [run] = TracesOutput.model_validate_json(capsys.readouterr().out).traces
    assert main(["traces", "--json", "--flow", "talk.memory"]) == 0
    [told] = TracesOutput.model_validate_json(capsys.readouterr().out).traces
    assert (told.status, told.session) == ("cancelled", "s-1")
    assert told.origin == {"trace_id": run.trace_id, "mode": "background"}

    assert main(["inspect", "last"]) == 0
    assert run.trace_id in capsys.readouterr().out
    assert main(["inspect", told.trace_id, "--llm", "1"]) == 0
    assert "You keep the summary" in capsys.readouterr().out
