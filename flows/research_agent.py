"""A planner that researches: it searches a small corpus, reads pages, holds them together and answers.

Its way through a question:

- `search` gives URLs, `fetch` reads the best page. The archive is down at times: `fetch` is tried up to three times;
- the related pages are fetched at once, and `compare` joins them. A page that is missing leaves the join out; then
  `compare` is called with the pages that are there;
- *publish* or *report* in the question makes it publish what it found. `publish` asks for approval: the run pauses, and
  goes on in the tool, also in another process;
- *briefly* makes it answer from one page.

A conversation is remembered when `tool_context` says whose it is (tenant, user and session): the last two turns, and a
summary of those before, which answers quote. Ask *what did I ask so far?* to see it.

A scripted model decides, so that no key is needed. `PENGUIFLOW_FLOWS_MODEL=openai/gpt-5-mini` takes a real one,
`PENGUIFLOW_FLOWS_MODEL_URL` a server that speaks OpenAI's protocol.

Try it: `pf run flows/research_agent.py --input '{"query": "What do emperor penguins eat?"}'`
A paused run: `pf run flows/research_agent.py --input '{"resume": {"pause": "<resume_token>", "user_input": "yes"}}'`
"""

from __future__ import annotations

from typing import Any, Unpack

from flows._agents import ProjectMemory, model_of_environment
from flows._research_model import research_model
from flows._research_tools import nodes, registry
from penguiflow.planner import ReactPlanner
from penguiflow.planner.memory import MemoryBudget, ShortTermMemoryConfig
from penguiflow.planner.react import PlannerOptions

GUIDANCE = """\
You answer questions about the Antarctic from a corpus. Search it, fetch the best page, then its related pages in
parallel with compare as the join. Quote what you read, and nothing else. Publish only if you are asked to. If there is
a summary of the earlier conversation, end with what you remember of it."""


def make_planner(model: Any, store: Any, **options: Unpack[PlannerOptions]) -> ReactPlanner:
    """The planner with a model of your choice; `store` keeps its memories and its paused runs."""
    memory = ShortTermMemoryConfig(
        strategy="rolling_summary",
        budget=MemoryBudget(full_zone_turns=2, summary_max_tokens=400, total_max_tokens=4000),
        include_trajectory_digest=False,
    )
    given: PlannerOptions = {
        "name": "research_agent",
        "max_iters": 12,
        "stream_final_response": True,
        "short_term_memory": memory,
        "state_store": store,
        "system_prompt_extra": GUIDANCE,
        **options,
    }
    return ReactPlanner(model, nodes=nodes, registry=registry, **given)


planner = make_planner(model_of_environment(research_model()), ProjectMemory())

_READER = {"tenant_id": "demo", "user_id": "reader", "session_id": "first"}

__flow__: dict[str, Any] = {
    "title": "Research agent",
    "defaults": {"tool_context": _READER},
    "samples": [
        {"query": "What do emperor penguins eat?", "tool_context": _READER},
        {"query": "Why do Adélie penguins need sea ice?", "tool_context": _READER},
        {"query": "What happened to the penguins of the sealers?", "tool_context": _READER},
        {"query": "Briefly: how large is the little penguin?", "tool_context": _READER},
        {"query": "Publish a report on krill and its fishery", "tool_context": _READER},
        {"query": "What did I ask so far?", "tool_context": _READER},
    ],
}
