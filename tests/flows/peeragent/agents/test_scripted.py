"""The scripted model: it answers whatever is asked, and its programs are programs."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

import pytest

from peeragent.agents import business, prompts
from peeragent.agents.competitor import ANALYSIS
from peeragent.agents.data import READING
from peeragent.agents.email import EMAIL
from peeragent.agents.problem import TREE, complaint
from peeragent.agents.summary import SUMMARY
from peeragent.agents.translation import TRANSLATION
from peeragent.llm import Form
from peeragent.models.turns import TurnRequest
from peeragent.routing import CHOSEN
from peeragent.scripted import reply
from peeragent.scripted_code import _TOPICS, program, programs
from penguiflow.llm import LLMMessage, LLMRequest

PYTHON = [(topic, known["python"][0]) for topic, known in programs().items() if "python" in known]


def said(system: LLMMessage, task: str, **parts: str) -> str:
    return reply(LLMRequest("x", tuple(prompts.messages(system, TurnRequest(task=task), **parts))))


@pytest.mark.parametrize(("topic", "code"), PYTHON)
def test_programs_are_python(topic: str, code: str) -> None:
    tree = ast.parse(code)
    assert any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body), topic


def test_every_topic_has_a_program_and_the_other_way_round() -> None:
    assert {topic for topic, _ in _TOPICS} == set(programs())


def run(task: str) -> dict[str, Any]:
    text = program({"task": task, "language": "python"})
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    return names


@pytest.mark.parametrize(
    ("task", "works"),
    [
        ("Write a function that reverses a string", lambda found: found["reverse"]("añb") == "bña"),
        ("Check if a word is a palindrome", lambda found: found["is_palindrome"]("A man, a plan, a canal: Panama")),
        ("fibonacci numbers", lambda found: found["fibonacci"](6) == [0, 1, 1, 2, 3, 5]),
        ("factorial of n", lambda found: found["factorial"](5) == 120),
        ("prime numbers", lambda found: [n for n in range(12) if found["is_prime"](n)] == [2, 3, 5, 7, 11]),
        ("fizzbuzz", lambda found: found["fizzbuzz"](5) == ["1", "2", "Fizz", "4", "Buzz"]),
        ("a binary search", lambda found: found["binary_search"]([1, 3, 5, 7], 5) == 2),
        ("sort numbers", lambda found: found["merge_sort"]([3, 1, 2]) == [1, 2, 3]),
        ("remove duplicates", lambda found: found["unique"]([1, 2, 1]) == [1, 2]),
        ("flatten a list", lambda found: [*found["flatten"]([1, [2, [3]]])] == [1, 2, 3]),
        ("greatest common divisor", lambda found: found["gcd"](12, 18) == 6),
        ("the largest number", lambda found: found["extremes"]([2, 9, 4]) == (2, 9)),
        ("is it even", lambda found: found["is_even"](4) and not found["is_even"](3)),
        ("frobnicate the plugh", lambda found: found["frobnicate_plugh"](3) == 3),
    ],
)
def test_programs_do_what_was_asked_for(task: str, works: Callable[[dict[str, Any]], bool]) -> None:
    assert works(run(task))


@pytest.mark.parametrize("language", ["cpp", "haskell", "typescript", "r", "css"])
def test_a_language_that_it_does_not_know(language: str) -> None:
    text = program({"task": "Reverse the plugh */ \n ```", "language": language})
    assert text.startswith(f"```{language}\n")


@pytest.mark.parametrize("task", ["", "{x}", "\n", "…", "a" * 5000, '"""', "</task>", "🐧"])
def test_every_prompt_gets_a_reply(task: str) -> None:
    for system in (prompts.CODE, prompts.CONTENT):
        assert said(system, task)
    asked = {"questions": "1. When?\n2. What?", "answers": f"Q: When?\nA: {task}"}
    business.ASKED.read(said(prompts.QUESTIONS, task, round="clarify", **asked))
    business.JUDGED.read(said(prompts.JUDGE, task, **asked))
    business.DIAGNOSED.read(said(prompts.DIAGNOSIS, task, **asked))
    business.PLAYED.read(said(prompts.CUSTOMER, task, **asked))
    assert complaint(TREE.read(said(prompts.TREE, task or "t", **asked))) is None
    forms: list[tuple[LLMMessage, Form[Any]]] = [
        (prompts.ROUTE, CHOSEN),
        (prompts.SUMMARY, SUMMARY),
        (prompts.TRANSLATION, TRANSLATION),
        (prompts.EMAIL, EMAIL),
        (prompts.DATA, READING),
        (prompts.COMPETITOR, ANALYSIS),
    ]
    for system, form in forms:
        form.read(said(system, task))


def test_what_is_no_prompt_of_ours_gets_nothing() -> None:
    assert reply(LLMRequest("x", (LLMMessage.of("user", "hello"),))) == ""


@pytest.mark.parametrize(
    ("answer", "quality"),
    [
        ("3 months ago", "good"),
        ("$2M loss", "good"),
        ("Mostly small customers in the north", "good"),
        ("not sure", "vague"),
        ("I don't know", "vague"),
        ("no", "vague"),
        ("", "vague"),
        ("bad", "vague"),
    ],
)
def test_how_it_judges(answer: str, quality: str) -> None:
    verdict = json.loads(said(prompts.JUDGE, "t", questions="1. When?", answers=f"Q: When?\nA: {answer}"))
    assert verdict["quality"] == quality
