"""The planner that researches: each of its features, on the scripted model and over a real connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows import _research_tools as tools
from flows import research_agent
from flows._corpus import SCHEME, closest, documents
from flows._research_model import research_model
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from penguiflow.planner import PlannerEvent, PlannerFinish, PlannerPause, ReactPlanner
from penguiflow.planner.memory import MemoryEditor
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import stored
from penguiflow.recording.replay import replay
from penguiflow.state import SQLiteStateStore
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer

EMPEROR = "corpus://birds/emperor-penguin"
QUESTION = "What do emperor penguins eat?"
READER = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
KEY = "t:u:s"
MakePlanner = Callable[..., ReactPlanner]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.fetch_policy, "backoff_base", 0.0)
    monkeypatch.setattr("penguiflow.planner.model_calls.BACKOFF_S", 0.0)


@pytest.fixture
def planner_of(store: SQLiteStateStore) -> MakePlanner:
    def make(model: Any = None, **options: Any) -> ReactPlanner:
        return research_agent.make_planner(model or research_model(), store, **options)

    return make


def finished(outcome: Any) -> PlannerFinish:
    assert isinstance(outcome, PlannerFinish), outcome
    assert outcome.reason == "answer_complete", outcome
    return outcome


def answer(outcome: Any) -> str:
    return str(finished(outcome).payload["raw_answer"])


def paused(outcome: Any) -> PlannerPause:
    assert isinstance(outcome, PlannerPause), outcome
    return outcome


def decided(outcome: Any) -> list[str]:
    """What was called, in order; a plan is `parallel`."""
    steps = finished(outcome).metadata["steps"]
    return [step["action"]["next_node"] or "parallel" for step in steps]


def plan_of(outcome: Any) -> dict[str, Any]:
    """What came of the plan."""
    found: dict[str, Any] = next(
        step["observation"] for step in finished(outcome).metadata["steps"] if step["action"]["plan"]
    )
    return found


# The corpus


def test_the_corpus_has_what_debugging_needs() -> None:
    """Breakpoints tell URLs with a `b` from those without; one link leads nowhere."""
    found = documents()
    assert 20 <= len(found) <= 40
    assert "b" not in SCHEME
    with_b = [url for url in found if "b" in url]
    assert len(with_b) >= 5
    assert len(found) - len(with_b) >= 5
    linked = {url for document in found.values() for url in document.related}
    assert linked - set(found) == {"corpus://archive/oil-ledger"}
    assert {tools.outages(url) for url in found} == {0, 1, 2}
    assert closest("corpus://birds/emperor-pengin") == EMPEROR


# A question


async def test_search_fetch_plan_and_join(planner_of: MakePlanner) -> None:
    outcome = await planner_of().run(QUESTION)

    assert decided(outcome) == ["search", "fetch", "parallel"]
    plan = plan_of(outcome)
    urls = [branch["observation"]["url"] for branch in plan["branches"]]
    assert urls == documents()[EMPEROR].related
    assert [page["url"] for page in plan["join"]["args"]["pages"]] == urls
    found = plan["join"]["observation"]["findings"]
    assert [each["url"] for each in found] == urls
    lines = answer(outcome).splitlines()
    assert lines[0] == "Emperor penguin: Emperor penguins eat fish, krill and squid."
    assert lines[1:] == [f"{each['title']}: {each['sentence']}" for each in found]
    assert {each["url"] for each in finished(outcome).payload["sources"]} == {EMPEROR, *urls}


async def test_pages_are_asked_for_again_when_the_archive_is_down(
    planner_of: MakePlanner, store: SQLiteStateStore
) -> None:
    planner = planner_of()
    outcome = await planner.run(QUESTION)

    pages = [each["observation"] for each in plan_of(outcome)["branches"]]
    assert [page["attempts"] for page in pages] == [tools.outages(page["url"]) + 1 for page in pages]
    assert max(page["attempts"] for page in pages) == 3
    await store.recorder().flush()
    events = [event async for event in stored(store, finished(outcome).metadata["trace_id"])]
    retries = [event for event in events if event.kind == "node.retry"]
    assert len(retries) == sum(tools.outages(url) for url in (EMPEROR, *(page["url"] for page in pages)))
    assert "503: the archive is busy" in retries[0].data["error"]


async def test_an_archive_that_stays_down(planner_of: MakePlanner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "outages", lambda url: 99)
    outcome = await planner_of().run(QUESTION)

    assert decided(outcome) == ["search", "fetch", "fetch", "fetch"]
    assert "I found nothing about" in answer(outcome)
    assert "I could not read corpus://birds/emperor-penguin, corpus://" in answer(outcome)


async def test_a_page_that_is_missing_leaves_the_join_out(planner_of: MakePlanner) -> None:
    outcome = await planner_of().run("What happened to the penguins of the sealers?")

    assert decided(outcome) == ["search", "fetch", "parallel", "compare"]
    assert plan_of(outcome)["join"]["reason"] == "branch_failures"
    assert "Did you mean" in plan_of(outcome)["branches"][2]["failure"]["suggestion"]
    assert "The sealers burned penguins as fuel" in answer(outcome)
    assert "I could not read corpus://archive/oil-ledger." in answer(outcome)


async def test_what_nobody_wrote_about(planner_of: MakePlanner) -> None:
    outcome = await planner_of().run("Zyzzyva?")
    assert decided(outcome) == ["search"]
    assert answer(outcome) == "I found nothing about 'Zyzzyva?' that I could read."


async def test_no_question_and_no_memory(planner_of: MakePlanner) -> None:
    planner = planner_of()
    assert answer(await planner.run("")).startswith("Emperor penguin: ")
    assert answer(await planner.run("What did I ask so far?")) == "I remember no earlier question."


async def test_samples_get_answers_that_differ(planner_of: MakePlanner) -> None:
    planner = planner_of(short_term_memory=None)
    answers = set()
    for sample in research_agent.__flow__["samples"]:
        outcome = await planner.run(sample["query"], on_ask=_approve)
        answers.add(answer(outcome))
    assert len(answers) == len(research_agent.__flow__["samples"])


async def _approve(prompt: str, schema: Any) -> str:
    return "yes"


# Stopped, changed, gone on with


async def test_the_url_that_is_edited_is_the_one_that_is_quoted(planner_of: MakePlanner) -> None:
    """A breakpoint on `fetch` whose URL has a `b`; the related pages are those of the page that was read."""
    stopped: list[str] = []

    async def edit(checkpoint: Checkpoint) -> Decision | None:
        if checkpoint.kind != "before_tool" or checkpoint.name != "fetch":
            return None
        if "b" not in checkpoint.payload["args"]["url"]:
            return None
        stopped.append(checkpoint.payload["args"]["url"])
        return Decision.edit({"url": "corpus://sea/whales"}) if len(stopped) == 1 else None

    outcome = await planner_of(interceptors=[edit]).run(QUESTION)

    assert stopped[0] == EMPEROR
    quoted = [line.partition(": ")[0] for line in answer(outcome).splitlines()]
    assert quoted[:3] == ["Baleen whales of the Southern Ocean", "Antarctic krill", "Whalers"]
    assert quoted[3:] == ["Emperor penguin"], "it was found and not read: it comes after what is related"


OTHERS: list[dict[str, Any]] = [
    {"next_node": "skim", "args": {"url": "corpus://birds/skua"}},
    {"next_node": "fetch", "args": {"url": "corpus://no/where"}},
    {"next_node": "search", "args": {"query": "whales"}},
    {"next_node": "nobody", "args": {}},
    {"next_node": "fetch", "args": {}},
    {"next_node": "parallel", "args": {"steps": [{"node": "skim", "args": {"url": "corpus://sea/krill"}}]}},
    {"next_node": "final_response", "args": {"answer": "Enough."}},
]


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("other", OTHERS, ids=lambda each: each["next_node"])
async def test_whatever_is_decided_instead_ends_in_an_answer(
    planner_of: MakePlanner, step: int, other: dict[str, Any]
) -> None:
    seen = 0

    async def instead(checkpoint: Checkpoint) -> Decision | None:
        nonlocal seen
        if checkpoint.kind != "after_decision":
            return None
        seen += 1
        return Decision.edit(other) if seen == step + 1 else None

    outcome = await planner_of(interceptors=[instead], arg_fill_enabled=False).run(QUESTION)
    assert answer(outcome)
    assert seen <= 12


ODD: list[Any] = [
    *(None, "gone", 5, [], {}),
    {"hits": [{"url": 7}, "x", {"title": "no URL"}], "related": "abc", "findings": [[]], "published": True},
    {"url": "corpus://birds/skua", "related": [None, "corpus://sea/krill"], "text": None},
]
"""What somebody may put in the place of an observation."""


@pytest.mark.parametrize("tool", ["search", "fetch", "compare", "publish"])
@pytest.mark.parametrize("odd", ODD)
async def test_whatever_a_tool_is_said_to_have_given_ends_in_an_answer(
    planner_of: MakePlanner, tool: str, odd: Any
) -> None:
    async def instead(checkpoint: Checkpoint) -> Decision | None:
        return Decision.edit(odd) if checkpoint.kind == "after_tool" and checkpoint.name == tool else None

    outcome = await planner_of(interceptors=[instead]).run("Publish a report on krill", on_ask=_approve)
    assert answer(outcome)


async def test_a_fork_with_another_tool_answers_something_else(
    planner_of: MakePlanner, store: SQLiteStateStore
) -> None:
    planner = planner_of()
    first = await planner.run(QUESTION)
    other = await planner.fork_at(finished(first).metadata["trace_id"], 1, edits={"/next_node": "skim"})

    assert decided(first)[:2] == ["search", "fetch"]
    assert decided(other)[:2] == ["search", "skim"]
    assert answer(other) != answer(first)
    assert answer(other).startswith("Emperor penguin: The emperor penguin is the largest penguin")
    again = await _replayed(planner_of(), store, finished(other).metadata["trace_id"])
    assert answer(again) == answer(other)


async def test_a_replay_is_the_same_run(planner_of: MakePlanner, store: SQLiteStateStore) -> None:
    planner = planner_of()
    first = finished(await planner.run(QUESTION, tool_context=READER))
    again = await _replayed(planner_of(), store, first.metadata["trace_id"])

    assert answer(again) == answer(first)
    assert decided(again) == decided(first)


async def _replayed(planner: ReactPlanner, store: SQLiteStateStore, trace_id: str) -> Any:
    """What a replay comes to, which is checked to be as it was recorded."""
    await store.recorder().flush()
    cassette = Cassette.of([event async for event in stored(store, trace_id)])
    flow, registry = planner.as_flow()
    return (await replay(flow, cassette, registry=registry)).check().output


# Approval


async def test_a_report_waits_for_approval_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    before = SQLiteStateStore(tmp_path / "paused.db")
    outcome = await research_agent.make_planner(research_model(), before).run("Publish a report on krill")
    await before.close()
    pause = paused(outcome)
    assert pause.payload["prompt"].startswith("Publish 'On Antarctic krill'")
    assert pause.payload["schema"]["enum"] == ["yes", "no"]

    after = SQLiteStateStore(tmp_path / "paused.db")
    planner = research_agent.make_planner(research_model(), after)
    asked_again = paused(await planner.resume(pause.resume_token, "perhaps"))
    assert "perhaps" in asked_again.payload["problem"]
    outcome = await planner.resume(asked_again.resume_token, "yes")
    assert decided(outcome)[-1] == "publish"
    assert answer(outcome).endswith(tools._press("On Antarctic krill", _body(outcome)) + ".")
    with pytest.raises(KeyError):
        await planner.resume(asked_again.resume_token, "yes")
    await after.close()


def _body(outcome: Any) -> str:
    return str(finished(outcome).metadata["steps"][-1]["action"]["args"]["body"])


@pytest.mark.parametrize(("said", "told"), [("no", "The report was not approved."), ("yes", "Published as REPORT-")])
async def test_somebody_is_there_to_approve(planner_of: MakePlanner, said: str, told: str) -> None:
    async def on_ask(prompt: str, schema: Any) -> str:
        return said

    outcome = await planner_of().run("Publish a report on krill", on_ask=on_ask)
    assert told in answer(outcome)
    assert decided(outcome).count("publish") == 1


# Streaming


async def test_the_answer_is_streamed(planner_of: MakePlanner) -> None:
    heard: list[PlannerEvent] = []
    outcome = await planner_of(event_callback=heard.append).run(QUESTION)

    pieces = [
        event.extra["text"]
        for event in heard
        if event.event_type == "llm_stream_chunk" and event.extra["channel"] == "answer"
    ]
    assert len(pieces) > 5
    assert "".join(pieces) == answer(outcome)


# Memory


async def _converse(planner: ReactPlanner) -> None:
    for query in ("Briefly: how large is the little penguin?", "Briefly: what are krill?", "Briefly: where are skuas?"):
        answer(await planner.run(query, tool_context=READER))
        bank = planner.memories()
        assert bank is not None
        await bank.flush()


async def test_a_conversation_is_remembered(planner_of: MakePlanner) -> None:
    await _converse(planner_of())

    again = planner_of()
    outcome = await again.run("Briefly: what are whales?", tool_context=READER)
    remembered = answer(outcome).partition("I remember: ")[2]
    assert "how large is the little penguin" in remembered
    assert "33 cm" in remembered
    assert "krill" not in remembered
    looked_back = answer(await again.run("What did I ask so far?", tool_context=READER))
    assert "- Briefly: where are skuas?" in looked_back
    other = await again.run("Briefly: what are whales?", tool_context={**READER, "user_id": "somebody else"})
    assert "I remember" not in answer(other)


async def test_a_summary_that_is_edited_while_it_runs_is_in_the_answer(
    planner_of: MakePlanner, store: SQLiteStateStore
) -> None:
    planner = planner_of()
    async with planner.iter(QUESTION, tool_context=READER) as run:
        async for step in run:
            if step.kind == "parallel":
                assert run.memory is not None
                view = await run.memory.get()
                await run.memory.edit_summary("The reader studies seals.", version=view.version)
    assert answer(run.result).endswith("I remember: The reader studies seals.")
    assert (await MemoryEditor(store).get(KEY)).summary == "The reader studies seals."


# Over a real connection, with a model that says what no rule would

SAID = [
    {"next_node": "search", "args": {"query": "whales", "limit": 1}},
    {
        "next_node": "parallel",
        "args": {
            "steps": [
                {"node": "fetch", "args": {"url": "corpus://sea/squid"}},
                {"node": "fetch", "args": {"url": "corpus://ice/cores"}},
            ],
            "join": {"node": "compare", "args": {"question": "How heavy?"}, "inject": {"pages": "$results"}},
        },
    },
    {"next_node": "publish", "args": {"title": "Odd", "body": "Of squid and ice"}},
    {"next_node": "final_response", "args": {"answer": "It was «odd» 🦑, all of it."}},
]


async def test_a_model_of_the_outside_decides(
    openai_server: ModelServer, planner_of: MakePlanner, store: SQLiteStateStore
) -> None:
    openai_server.say(Said(status=429, headers={"retry-after": "0"}), *(json.dumps(each) for each in SAID))
    model = PydanticAIProvider("openai/local-1", api_key="a-key", base_url=openai_server.url)
    heard: list[PlannerEvent] = []
    planner = planner_of(model, event_callback=heard.append, short_term_memory=None)
    try:
        outcome = await planner.run("Anything", tool_context=READER, on_ask=_approve)
    finally:
        await model.aclose()

    assert decided(outcome) == ["search", "parallel", "publish"]
    plan = plan_of(outcome)
    assert [each["observation"]["attempts"] for each in plan["branches"]] == [
        tools.outages(each["args"]["url"]) + 1 for each in plan["branches"]
    ]
    assert [each["title"] for each in plan["join"]["observation"]["findings"]] == [
        "Squid of the Southern Ocean",
        "Ice cores",
    ]
    made = finished(outcome).metadata["steps"][-1]["observation"]
    assert made == {"published": True, "reference": tools._press("Odd", "Of squid and ice")}
    assert answer(outcome) == "It was «odd» 🦑, all of it."
    streamed = [
        event.extra["text"]
        for event in heard
        if event.event_type == "llm_stream_chunk" and event.extra["channel"] == "answer"
    ]
    assert "".join(streamed) == answer(outcome)
    last = openai_server.asked[-1].body["messages"]
    assert any(made["reference"] in str(message["content"]) for message in last)
