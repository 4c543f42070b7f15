"""Who does a task: words with boundaries, then the session, then the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from peeragent.agents import prompts
from peeragent.keywords import COMPILED
from peeragent.models.agents import Agent
from peeragent.models.turns import SocraticState, Turn, TurnRequest
from peeragent.routing import Router, by_keywords
from tests.model_server import Said

if TYPE_CHECKING:
    from peeragent.llm import Model
    from tests.flows.peeragent.agents.conftest import Saying, Take, Takes
    from tests.model_server import ModelServer

MISROUTES = [
    ("Explain rapid capital classification", Agent.CONTENT),
    ("Translate this python script to Java", Agent.TRANSLATE),
    ("Write a professional email to my customer about the sales team meeting", Agent.EMAIL),
    ("Diagnose churn", Agent.BUSINESS),
    ("Sales are dropping 20%", Agent.BUSINESS),
    ("Our sales dropped 20%", Agent.BUSINESS),
    ("Our sales dropped 20% this quarter", Agent.BUSINESS),
]
"""What an earlier router sent elsewhere."""
PROMISED = [
    ("Write a Python function", Agent.CODE),
    ("Create SQL query", Agent.CODE),
    ("Write a SQL query to find top 10 customers by revenue", Agent.CODE),
    ("Write a Python hello world function", Agent.CODE),
    ("What is machine learning?", Agent.CONTENT),
    ("Latest AI trends", Agent.CONTENT),
    ("What are the latest trends in AI?", Agent.CONTENT),
    ("Summarize this article about our competitors", Agent.SUMMARY),
    ("How do you say good morning in French?", Agent.TRANSLATE),
    ("Draft an email to the team about the outage", Agent.EMAIL),
    ("Analyze this data: 1, 2, 3", Agent.DATA),
    ("Who are our main competitors?", Agent.COMPETITOR),
    ("Build a MECE problem tree for rising costs", Agent.PROBLEM),
    ("Write a Python script that analyzes sales data", Agent.CODE),
    ("Why are our sales dropping?", Agent.BUSINESS),
    ("Explain why our sales dropped", Agent.BUSINESS),
    ("How can we reduce churn?", Agent.BUSINESS),
    ("What is customer churn?", Agent.CONTENT),
    ("Write an email validation function in JavaScript", Agent.CODE),
    ("Write Python code to translate text", Agent.CODE),
    ("Write a blog post about customer churn", Agent.CONTENT),
]


@pytest.mark.parametrize(("task", "agent"), [*MISROUTES, *PROMISED])
def test_words_decide(task: str, agent: Agent) -> None:
    route = by_keywords(task)

    assert route is not None
    assert (route.agent, route.method) == (agent, "keyword")
    assert 0 < route.score <= 1
    assert route.keywords
    assert all(word in task.casefold() for word in route.keywords)


@pytest.mark.parametrize("task", ["The apiary and the classroom", "capital", "reclassify", "apis dorsata", "emailed"])
def test_parts_of_words_do_not_count(task: str) -> None:
    assert by_keywords(task) is None


@pytest.mark.parametrize("task", ["", "Escribe una función", "こんにちは", "{task} %s {0}", "Hello"])
def test_nothing_speaks(task: str) -> None:
    assert by_keywords(task) is None


def test_every_agent_has_words() -> None:
    assert set(COMPILED) == set(Agent)


@pytest.mark.parametrize(
    "task", ["write " * 3000, "write a " * 2500, "sales " * 3300, "write" + " x" * 9000, "in the cost rising " * 1000]
)
def test_long_tasks_are_quick(task: str) -> None:
    """No pattern takes its time with what it almost finds."""
    began = time.process_time()
    by_keywords(task)
    assert time.process_time() - began < 0.5


def test_both_ends_of_a_long_text_count() -> None:
    text = "The council met again. " * 500
    at_the_end = by_keywords(f"{text}\nTranslate this to French")
    assert at_the_end is not None
    assert at_the_end.agent is Agent.TRANSLATE


# The session


@pytest.mark.parametrize(
    ("task", "last", "agent"),
    [
        ("and in Java?", Agent.CODE, Agent.CODE),
        ("y en Rust?", Agent.CODE, Agent.CODE),
        ("shorter please", Agent.SUMMARY, Agent.SUMMARY),
        ("make it more formal", Agent.EMAIL, Agent.EMAIL),
        ("What about the causes of that?", Agent.CONTENT, Agent.CONTENT),
    ],
)
async def test_what_goes_on_stays(saying: Callable[..., Saying], task: str, last: Agent, agent: Agent) -> None:
    model = saying()
    route = await Router(model.model).classify(TurnRequest(task=task, last_agent=last))

    assert (route.agent, route.method) == (agent, "session")
    assert not model.requests


@pytest.mark.parametrize(
    ("task", "agent"),
    [
        ("Write an email to Bob", Agent.EMAIL),
        ("and now translate it to French", Agent.TRANSLATE),
        ("What is Rome?", Agent.CONTENT),
    ],
)
async def test_what_says_what_it_wants_does_not_stay(saying: Callable[..., Saying], task: str, agent: Agent) -> None:
    route = await Router(saying().model).classify(TurnRequest(task=task, last_agent=Agent.CODE))
    assert (route.agent, route.method) == (agent, "keyword")


async def test_after_a_diagnosis_the_model_decides(saying: Callable[..., Saying]) -> None:
    model = saying({"agent": "content", "score": 0.6, "reason": "small talk"})
    route = await Router(model.model).classify(TurnRequest(task="thank you", last_agent=Agent.BUSINESS))
    assert (route.agent, route.method) == (Agent.CONTENT, "llm")


@pytest.mark.parametrize(
    ("task", "method"),
    [("it began in March", "session"), ("Mostly the north, I would say, and the small ones", "session")],
)
async def test_a_text_while_questions_are_open_answers_them(
    saying: Callable[..., Saying], task: str, method: str
) -> None:
    state = SocraticState(task="Our sales dropped", asked=["When?"])
    request = TurnRequest(task=task, last_agent=Agent.BUSINESS, socratic=state)
    route = await Router(saying().model).classify(request)
    assert (route.agent, route.method) == (Agent.BUSINESS, method)


@pytest.mark.parametrize(
    ("task", "agent"),
    [("Write a Python function", Agent.CODE), ("Our delivery costs are rising", Agent.BUSINESS)],
)
async def test_what_is_plainly_something_else_does_not(saying: Callable[..., Saying], task: str, agent: Agent) -> None:
    state = SocraticState(task="Our sales dropped", asked=["When?"])
    request = TurnRequest(task=task, last_agent=Agent.BUSINESS, socratic=state)
    route = await Router(saying().model).classify(request)
    assert (route.agent, route.method) == (agent, "keyword")


async def test_without_a_session_nothing_stays(saying: Callable[..., Saying]) -> None:
    model = saying({"agent": "code", "score": 0.7, "reason": "asks for Rust"})
    route = await Router(model.model).classify(TurnRequest(task="y en Rust?"))
    assert (route.agent, route.method, route.score) == (Agent.CODE, "llm", 0.7)


# The model


async def test_the_model_decides_with_score_and_reason(saying: Callable[..., Saying]) -> None:
    model = saying({"agent": "EMAIL_agent", "score": 0.9, "reason": "it asks for a letter"})
    request = TurnRequest(
        task="Lettre pour Marie, pour lui dire que nous viendrons demain soir",
        last_agent=Agent.CONTENT,
        history=[Turn(role="user", text="Who is Marie Curie?")],
    )
    route = await Router(model.model).classify(request)

    assert (route.agent, route.method, route.score) == (Agent.EMAIL, "llm", 0.9)
    assert route.reason == "it asks for a letter"
    (asked,) = model.requests
    assert asked.messages[0] == prompts.ROUTE
    parts = prompts.read_data(asked.messages)
    assert parts["session"] == "The last word had: content."
    assert parts["conversation"] == "user: Who is Marie Curie?"
    assert parts["task"] == request.task
    assert asked.temperature == 0.0


async def test_one_repair_is_enough(saying: Callable[..., Saying]) -> None:
    model = saying("CODE!", {"agent": "code", "score": 0.5, "reason": "r"})
    route = await Router(model.model).classify(TurnRequest(task="programme moi cela s'il te plaît vite"))
    assert (route.agent, route.method) == (Agent.CODE, "llm")
    assert "no JSON object" in model.requests[1].messages[-1].text


@pytest.mark.parametrize(
    "reply",
    [
        "I think it is code",
        '{"agent": "root", "score": 1, "reason": "x"}',
        '{"agent": "code", "score": 7, "reason": "x"}',
        '{"agent": ["code"], "score": 1, "reason": "x"}',
        "[]",
        '{"agent": "code"',
        "",
    ],
)
async def test_what_cannot_be_read_goes_to_the_content_agent(saying: Callable[..., Saying], reply: str) -> None:
    model = saying(reply, reply, reply)
    route = await Router(model.model).classify(TurnRequest(task="Bonjour tout le monde, ça va bien?"))

    assert (route.agent, route.method, route.score) == (Agent.CONTENT, "default", 0.0)
    assert "LLM_BAD_REPLY" in route.reason
    assert len(model.requests) == 2


async def test_a_real_model_decides(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    openai_server.say(
        '{"agent": "problem", "score": 0.75, "reason": "it asks what lies beneath"}',
        """{"problem_type": "Cost", "main_problem": "m", "root_causes": [
            {"cause": "Fuel", "sub_causes": ["Vans", "Detours"]},
            {"cause": "Wages", "sub_causes": ["Overtime", "Agency"]},
            {"cause": "Returns", "sub_causes": ["Addresses", "Damages"]}]}""",
    )
    taken = await takes(served)("Warum ist das Ausliefern so teuer geworden?", last_agent="email")

    route = taken.result.route
    assert (route.agent, route.method, route.score) == (Agent.PROBLEM, "llm", 0.75)
    assert route.reason == "it asks what lies beneath"
    assert "The last word had: email." in str(openai_server.asked[0].body["messages"])
    assert taken.result.result.type == "problem_tree"


async def test_no_model_can_be_asked(openai_server: ModelServer, served: Model) -> None:
    """To classify never fails; the agent's own call does, if there is still no model."""
    openai_server.otherwise = Said(status=401, error="no")
    route = await Router(served).classify(TurnRequest(task="Warum ist das Ausliefern so teuer geworden?"))
    assert (route.agent, route.method) == (Agent.CONTENT, "default")
    assert "LLM_UNAVAILABLE" in route.reason


# In the flow


async def test_the_route_is_told_before_the_work(take: Take) -> None:
    taken = await take("Write a Python function")

    route = taken.chunks[0].meta["route"]
    assert (route["agent"], route["method"]) == ("code", "keyword")
    assert taken.result.route.model_dump(mode="json") == route


@pytest.mark.parametrize("agent", [agent for agent in Agent if agent is not Agent.DATA])
async def test_each_agent_can_be_named(take: Take, agent: Agent) -> None:
    """Every agent has a node of its own and answers under its own name."""
    taken = await take("Our sales dropped 20% and rivals grow", agent=agent)

    assert taken.result.route.method == "direct"
    assert taken.result.result.agent_type == agent.agent_type
    assert taken.result.result.model.scripted
