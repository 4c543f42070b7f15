"""Every example runs as a program and as a flow of the playground, and says what its README says."""

from __future__ import annotations

import asyncio
import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import FlowError, Headers, Message

if TYPE_CHECKING:
    from playground.loader.project_loader import ProjectLoader

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(file.parent.name for file in EXAMPLES.glob("*/flow.py"))

REFUSED = "arguments of 'quote' do not fit: grams: Input should be greater than 0"
LINES = {
    "quickstart": ["[metrics] Which metrics do we keep?", "- Latency is in milliseconds."],
    "routing_predicate": [
        "My invoice is wrong -> billing",
        "The invoice page crashes -> billing, support",
        "It is slow -> support",
        "Hello! -> dropped",
    ],
    "routing_union": ["web: three pages about penguins", "sql: 3 rows of birds"],
    "routing_policy": ["acme: small", "initech: large", "spam-co: nobody", "acme after the change: large"],
    "fanout_join": ["timeouts in docs; timeouts in issues; timeouts in wiki"],
    "map_concurrent": ["readme: 600 bytes", "api: 300 bytes", "at most 4 at once"],
    "record_replay": [
        "replayed: 5 answers from the recording, 0 calls made",
        "the same total: True",
        "the same draw, at the same time: True",
    ],
    "fork_resume": [
        "went on after event 5: ice for receipt-1",
        "forked after event 7: fish for receipt-1",
        "paid: 250 cents",
    ],
    "distributed_redis_pg": [
        "two workers are there",
        "one of them was killed",
        "labels: 40 of 40, the last: parcel 39, 139 g",
    ],
    "distributed_nats": ["left: [0, 0]", "answers: 30, the last: docs 29, wiki 1"],
    "controller_multihop": [
        "enough: Why does the egg not freeze? Because fathers keep the egg, it lies on their feet, skin covers it.",
        "two hops: Hop budget exhausted",
        "100 tokens: Token budget exhausted",
        "no time: Deadline exceeded",
    ],
    "playbook_retrieval": [
        "what do penguins eat? Krill is what most penguins eat. Some penguins dive deep for squid.",
        "who won? Nobody knows.",
        "penguins slowly? NODE_EXCEPTION in research: TimeoutError",
    ],
    "streaming_llm": ["data: You asked: can penguins fly?", 'data: {"model": "scripted"}', "event: done", "(4 tokens)"],
    "metadata_propagation": ["request_id: r-17", "summarizer: scripted", "tenant: acme, same trace: True"],
    "opentelemetry": [
        "attempt look_up, failed: ConnectionError, exception",
        "node look_up, ok, node.retry",
        "attempt answer, ok, record encyclopedia",
        "invoke_workflow ask, ok",
    ],
    "reliability_middleware": [
        "flaky: attempt 2 failed (node_error)",
        "flaky: again in 0.02 s",
        "slow: attempt 1 failed (node_timeout)",
        "done: rough",
    ],
    "mlflow_metrics": ["clean: 3 runs, all under a minute: True", "count: 3 runs, all under a minute: True"],
    "visualizer": [
        '    plan__it_["plan #34;it#34;"]',
        "    think -->|loop| think",
        r'    plan__it_ [label="plan \"it\""]',
        "penguins: fact 1, fact 2, fact 3",
    ],
    "testkit_demo": ["test_an_order_is_confirmed: passed", "test_the_envelope_is_kept: passed"],
    "traceable_errors": [
        "paid 250",
        "NODE_EXCEPTION in check (of this trace: True): Node 'check' raised ValueError: -1 cannot be paid",
        "  because of ValueError('-1 cannot be paid'), after 2 attempts",
        "NODE_TIMEOUT in pay (of this trace: True): Node 'pay' timed out after 0.05s",
    ],
    "planner_minimal": [
        "weather {'name': 'Ushuaia'} -> {'celsius': 4, 'sky': 'snow'}",
        "Yes, it snows: take a coat.",
    ],
    "planner_typed_tools": [
        f"quote {{'country': 'NZ', 'grams': -250}} -> {REFUSED}",
        "quote {'country': 'NZ', 'grams': 250} -> {'cents': 650, 'days': 9}",
        "receipt='acme-650' euros=6.5 days=9",
        "called: quote, quote, book",
    ],
    "planner_parallel_join": [
        "search_docs -> {'source': 'docs', 'lines': 12}",
        "search_issues -> {'source': 'issues', 'lines': 3}",
        "merge -> {'text': '12 lines in docs, 3 lines in issues (2 places)'}",
        "There is more in the documentation.",
    ],
    "planner_replan": [
        "tool_call_result: live",
        "tool_call_start: archive",
        "StationDown: call archive for the last reading that is known",
        "-18.5 degrees, three hours ago.",
    ],
    "planner_pause_resume": [
        "await_input: Buy krill for 250 cents?",
        "reservation 1 of krill: paid 250 cents",
        "The krill is yours.",
        "reserved 1 time",
    ],
    "planner_memory_truncation": [
        "pip: one. Before that: nothing.",
        "pip: four. Before that: two, three.",
        "mumble: five. Before that: nothing.",
    ],
    "planner_memory_summary": [
        "I like krill -> I remember: nothing",
        "summary: My name is Pip; I like krill; I live in Halley",
        "And now? -> I remember: Pip likes squid now",
    ],
    "planner_memory_persistent": [
        "acme:pip:monday: 1 turn, version 1",
        "not cleared: it is another version by now",
        "What do I have? -> You said: I have a blue sled",
    ],
    "planner_session_kv": [
        "monday: 3 patches, ice, krill, squid",
        "monday: api_token was made, and is told of as ['$secret']",
        "tuesday: 3 patches, ice, krill, squid",
        "tuesday: api_token was made, and is told of as ['$secret']",
    ],
    "planner_constraints": [
        "tools: look_up, refund",
        "manager: refund -> 'refund' is meant to come after look_up; call it again if that is not possible",
        "manager: refund -> refunded Pip",
        "manager: answer_complete, 2 of 2 hops",
        "guest: refund -> there is no tool 'refund'; there are look_up",
        "guest: answer_complete, 1 of 2 hops",
    ],
    "planner_custom_llm": ["streamed: 5 words.", "5 words.", "2 calls, 0.004 dollars"],
    "trace_cancel": [
        "long: cleaning up",
        "cancelled: True",
        "quick: 3 steps",
        "long: TRACE_CANCELLED",
        "cancelled again: False",
    ],
}
"""What each program prints, among other lines."""

HANG_S = 120.0


def test_each_example_has_its_lines() -> None:
    assert set(LINES) == set(NAMES)


@pytest.mark.usefixtures("untouched_logging")
@pytest.mark.parametrize("name", LINES)
def test_it_runs_as_a_program(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / name / "flow.py"), run_name="__main__")
    printed = capsys.readouterr()
    missing = [line for line in LINES[name] if line not in printed.out.splitlines()]
    assert not missing, printed.out
    assert printed.err == ""


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_in_the_playground_and_runs_its_first_sample(name: str, loaded_examples: ProjectLoader) -> None:
    target = f"examples/{name}/flow.py"
    (module,) = [module for module in loaded_examples.modules if module.path == target]
    assert (module.state, module.error) == ("loaded", None)
    (info,) = module.flows
    assert info.title
    assert info.doc
    assert info.samples
    runnable = loaded_examples.runnables[target]

    async def run(sample: Any) -> list[Any]:
        runnable.flow.run(registry=runnable.registry)
        try:
            async with asyncio.timeout(HANG_S):
                payload = runnable.takes.validate(sample)
                message = payload if runnable.takes.bare else Message(payload=payload, headers=Headers(tenant="test"))
                return [item async for item in runnable.flow.stream(message)]
        finally:
            await runnable.flow.stop()

    results = asyncio.run(run(info.samples[0]))
    assert results
    assert not [item for item in results if isinstance(item, FlowError)]


@pytest.mark.parametrize("name", NAMES)
def test_its_readme_says_how_to_run_it(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert f"uv run python examples/{name}/flow.py" in text
    assert f"uv run pf tui examples/{name}/flow.py" in text
    for link in re.findall(r"\]\((\.\.?/[^)]+)\)", text):
        target, _, anchor = link.partition("#")
        assert (EXAMPLES / name / target).exists(), link
        assert not anchor or anchor in anchors(EXAMPLES / name / target), link


def anchors(page: Path) -> list[str]:
    """How the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
