"""Summaries, translations, e-mails and analyses of competitors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from peeragent.agents import prompts
from peeragent.agents.summary import reduction
from peeragent.agents.translation import NATURAL, PROGRAMMING, target_of
from peeragent.errors import AgentFailed
from peeragent.models.agents import (
    Agent,
    CompetitorAnalysisOutput,
    EmailOutput,
    SummaryOutput,
    TranslationOutput,
)
from peeragent.models.turns import TurnRequest
from peeragent.search import Document, corpus

if TYPE_CHECKING:
    from peeragent.llm import Model
    from tests.flows.peeragent.agents.conftest import Saying, Take, Takes
    from tests.model_server import ModelServer

TEXT = (
    "The city council met on Monday. It approved a new tram line from the harbor to the airport. "
    "The tram line costs 40 million. Residents asked for trees along the tram line. Work begins in May."
)

# Summary


async def test_a_summary(take: Take) -> None:
    taken = await take(f"Summarize: {TEXT}")
    data = taken.result.result.data

    assert taken.result.result.type == data["type"] == "summary"
    assert data["tldr"] in TEXT
    assert data["key_points"]
    assert all(point in TEXT for point in data["key_points"])
    assert data["word_count_reduction"].endswith("%")
    assert taken.text == data["details"]


async def test_a_summary_by_a_real_model(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    said = {"tldr": "A tram is coming.", "key_points": ["Tram approved"], "details": "The council “said” yes.\nMay."}
    openai_server.say(json.dumps(said))
    taken = await takes(served)("Summarize the text", context={"text": TEXT, "audience": "children"})

    result = taken.result.result
    assert result.agent_type == "summary_agent"
    assert SummaryOutput.model_validate(result.data).word_count_reduction == "83%"
    assert {**result.data, "word_count_reduction": "", "type": ""} == {**said, "word_count_reduction": "", "type": ""}
    assert taken.text == said["details"]
    asked = str(openai_server.asked[0].body["messages"])
    assert "harbor" in asked
    assert "children" in asked


@pytest.mark.parametrize(
    ("text", "shorter", "percent"),
    [("a b c d", "a", "75%"), ("a", "a b c", "0%"), ("", "a", "0%"), ("a b c", "b", "67%")],
)
def test_how_much_shorter_is_counted(text: str, shorter: str, percent: str) -> None:
    assert reduction(text, shorter) == percent


# Translation


@pytest.mark.parametrize(
    ("task", "target"),
    [
        ("Translate to Spanish: Good morning", "Spanish"),
        ("Translate 'I want to go' to German", "German"),
        ("Translate into French: I sing in English", "French"),
        ("Translate this to Japanese\nHello to English readers", "Japanese"),
        ("translate hello to TURKISH", "Turkish"),
        ("How do you say good morning in Italian?", "Italian"),
        ("Translate this python script to Java", "Java"),
        ("Translate this function to C++", "C++"),
        ("Translate: guten Morgen", "English"),
        ("Translate to Klingon: yes", "English"),
        ("Translate the text to the Portuguese of Brazil", "Portuguese"),
        ("Translate to Russian or so", "Russian"),
        ("Translate 'how to say it in English' to German", "German"),
        ("I sing in English. Translate that to German", "German"),
        ("Rewrite this in Go", "Go"),
        ("Translate to brazilian portuguese: hi", "Portuguese"),
        ("", "English"),
    ],
)
def test_the_target_of_a_translation(task: str, target: str) -> None:
    assert target_of(TurnRequest(task=task)) == target


def test_many_languages_are_known() -> None:
    assert len(set(NATURAL.values())) >= 13
    for name in {*NATURAL.values(), *PROGRAMMING.values()}:
        assert target_of(TurnRequest(task=f"Translate 'so it goes' to {name}.")) == name


def test_the_context_names_the_target() -> None:
    assert target_of(TurnRequest(task="Translate to Spanish: x", context={"target_language": "german"})) == "German"
    assert target_of(TurnRequest(task="Translate x", context={"target_language": "Klingon"})) == "Klingon"
    assert target_of(TurnRequest(task="Translate x", context={"target_language": 3})) == "English"


async def test_a_translation(take: Take) -> None:
    taken = await take("Translate to Spanish: Good morning, my friend")
    data = taken.result.result.data
    assert data["translated_text"] == "Buenos días, amigo mío"
    assert (data["source_language"], data["target_language"]) == ("English", "Spanish")
    assert data["original_text"] == "Good morning, my friend"
    assert taken.text == data["translated_text"]


async def test_what_the_scripted_model_does_not_know_it_says(take: Take) -> None:
    for task in ("Translate to Polish: Good morning", "Translate to Spanish: The quarterly balance"):
        data = (await take(task)).result.result.data
        assert "scripted model knows" in data["notes"]


async def test_a_translation_by_a_real_model(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    said = {"source_language": "Welsh", "original_text": "bore da", "translated_text": "早安 🌅", "notes": "n"}
    openai_server.say(json.dumps(said))
    taken = await takes(served)("Translate to Chinese: bore da", context={"register": "polite"})
    assert TranslationOutput.model_validate(taken.result.result.data).target_language == "Chinese"
    assert taken.text == "早安 🌅"
    asked = str(openai_server.asked[0].body["messages"])
    assert "<target>\\nChinese\\n</target>" in asked
    assert "polite" in asked


# E-mail


async def test_an_email(take: Take) -> None:
    taken = await take("Write a professional email to my customer about the sales team meeting")
    data = EmailOutput.model_validate(taken.result.result.data)
    assert taken.result.result.agent_type == "email_agent"
    assert "sales team meeting" in data.body
    assert data.greeting == "Dear customer,"
    for part in (data.subject, data.greeting, data.body, data.closing, data.signature):
        assert part in data.full_email
    assert data.tone == "professional"


async def test_the_context_reaches_the_email(take: Take) -> None:
    context = {"tone": "friendly", "recipient": "Ada", "sender": "Grace"}
    data = (await take("Write an email about lunch", context=context)).result.result.data
    assert (data["tone"], data["greeting"], data["signature"]) == ("friendly", "Dear Ada,", "Grace")


async def test_an_email_by_a_real_model(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    said = {
        "subject": "Lunch {name}",
        "greeting": "Hi Ada,",
        "body": "Shall we?",
        "closing": "",
        "signature": "G.",
        "tone": "warm",
        "tips": [],
    }
    openai_server.say(json.dumps(said))
    taken = await takes(served)("Write an email to Ada", context={"tone": "warm"})
    assert taken.result.result.data["full_email"] == "Subject: Lunch {name}\n\nHi Ada,\n\nShall we?\n\nG."
    assert taken.text == "Shall we?"
    assert "warm" in str(openai_server.asked[0].body["messages"])


# Competitors

ANALYSIS: dict[str, Any] = {
    "market_overview": "Two makers [https://d.example/0], one dream [https://evil.example/x].",
    "competitors": [{"name": "Acme", "strengths": ["cheap [https://d.example/1]"], "weaknesses": []}],
    "comparison_matrix": [{"criterion": "price", "assessment": "Acme wins"}],
    "market_positioning": "premium",
    "opportunities": ["o"],
    "threats": ["t"],
    "recommendations": ["r"],
}


class Two:
    """Finds two documents."""

    async def search(self, query: str, limit: int = 5) -> Sequence[Document]:
        return [Document(title=f"T{n}", url=f"https://d.example/{n}", text="Acme and Bolt compete.") for n in range(2)]


async def test_competitors_from_the_corpus(take: Take) -> None:
    taken = await take("Who are the main competitors in electric cars?")
    data = CompetitorAnalysisOutput.model_validate(taken.result.result.data)

    assert taken.result.route.agent is Agent.COMPETITOR
    assert {"BYD", "Tesla", "Volkswagen"} & {each["name"] for each in data.competitors}
    assert data.sources
    assert set(data.sources) <= {document.url for document in corpus()}


async def test_competitors_by_a_real_model(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    openai_server.say(json.dumps(ANALYSIS))
    taken = await takes(served, Two())("Analyze our competitors", context={"we": "Coyote Inc"})
    result = taken.result.result

    assert result.agent_type == "competitor_analysis_agent"
    assert result.data["sources"] == ["https://d.example/0", "https://d.example/1"]
    assert result.data["comparison_matrix"] == {"price": "Acme wins"}
    assert "evil.example" not in json.dumps(result.data)
    assert "Coyote Inc" in str(openai_server.asked[0].body["messages"])


# All of them


@pytest.mark.parametrize("agent", [Agent.SUMMARY, Agent.TRANSLATE, Agent.EMAIL, Agent.COMPETITOR])
async def test_replies_that_have_no_form_are_failures(
    takes: Takes, saying: Callable[..., Saying], agent: Agent
) -> None:
    model = saying("{}", "nonsense", '{"error": "no"}')
    with pytest.raises(AgentFailed) as failed:
        await takes(model.model)("Say {something} to me", agent=agent)
    assert failed.value.code == "LLM_BAD_REPLY"
    assert len(model.requests) == 3


@pytest.mark.parametrize("agent", [agent for agent in Agent if agent is not Agent.DATA])
async def test_context_and_task_reach_every_agent(takes: Takes, saying: Callable[..., Saying], agent: Agent) -> None:
    model = saying(*["no"] * 3)
    with suppress(AgentFailed):  # some want a form
        await takes(model.model)("{Task} of %s", agent=agent, context={"shade": "teal {x}"})
    parts = prompts.read_data(model.requests[0].messages)
    assert "teal {x}" in parts["context"]
    assert parts["task"] == "{Task} of %s"
