"""The code agent: which language, what is code and what explains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from peeragent.agents import prompts
from peeragent.agents.code import MAX_EXPLANATION, language_of, parsed
from peeragent.errors import AgentFailed
from peeragent.models.agents import Agent
from peeragent.models.turns import Turn, TurnRequest

if TYPE_CHECKING:
    from peeragent.llm import Model
    from tests.flows.peeragent.agents.conftest import Saying, Take, Takes
    from tests.model_server import ModelServer


@pytest.mark.parametrize(
    ("task", "language"),
    [
        ("Write a function", "python"),
        ("Write a SQL query to find top 10 customers by revenue", "sql"),
        ("Write a Python script that runs a SQL query", "python"),
        ("Create a JavaScript function", "javascript"),
        ("a Java method", "java"),
        ("Translate this python script to Java", "java"),
        ("Convert this C# class to C++", "cpp"),
        ("a TypeScript interface", "typescript"),
        ("Write it in Go", "go"),
        ("Let us go and write a function", "python"),
        ("A Rust trait", "rust"),
        ("a bash script", "bash"),
        ("shell script that lists files", "bash"),
        ("a C program", "c"),
        ("a C++ program", "cpp"),
        ("an html page", "html"),
        ("Explain classical music", "python"),
        ("sequel javanese script", "python"),
        ("a react component", "javascript"),
    ],
)
def test_the_language_of_a_task(task: str, language: str) -> None:
    assert language_of(task) == language


def test_the_language_of_the_session_counts_where_the_task_names_none() -> None:
    before = [Turn(role="user", text="Write a Rust function"), Turn(role="assistant", text="fn main() {}")]
    assert language_of("make it faster", TurnRequest(task="make it faster", history=before)) == "rust"
    assert language_of("and in Java?", TurnRequest(task="and in Java?", history=before)) == "java"
    told = TurnRequest(task="make it faster", context={"language": "kotlin"}, history=before)
    assert language_of("make it faster", told) == "kotlin"


def test_the_first_fence_is_the_code() -> None:
    reply = "Here:\n```py\ndef f():\n    return '`'\n```\nIt returns.\n```\nother\n```"
    output = parsed(reply, "java")
    assert output.code == "def f():\n    return '`'"
    assert output.language == "python"
    assert output.explanation.startswith("Here:\n\nIt returns.")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("print(1)", "print(1)"),
        ("```\nprint(1)\n```", "print(1)"),
        ("~~~~python\nprint(1)\n~~~~", "print(1)"),
        ("```python\nprint(1)", "print(1)"),
        ("````md\n```\ninner\n```\n````", "```\ninner\n```"),
        ("  ```python\n  if x:\n    print(1)\n  ```", "if x:\n  print(1)"),
    ],
)
def test_fences(reply: str, code: str) -> None:
    assert parsed(reply, "python").code == code


def test_without_a_fence_all_is_code() -> None:
    output = parsed("SELECT 1;", "sql")
    assert (output.code, output.language, output.explanation) == ("SELECT 1;", "sql", "")


def test_an_explanation_is_cut_between_words() -> None:
    output = parsed(f"```go\nx\n```\n{'word ' * 300}", "go")
    assert len(output.explanation) <= MAX_EXPLANATION
    assert output.explanation.endswith("word…")


async def test_the_scripted_model_writes_programs(take: Take) -> None:
    taken = await take("Write a Python function that reverses a string")

    data = taken.result.result.data
    names: dict[str, Callable[[str], str]] = {}
    exec(data["code"], names)
    assert names["reverse"]("abc") == "cba"
    assert (data["language"], taken.result.result.type) == ("python", "code")
    assert data["code"] in taken.text


async def test_the_query_of_the_readme(take: Take) -> None:
    data = (await take("Write a SQL query to find top 10 customers by revenue")).result.result.data
    assert data["language"] == "sql"
    assert "GROUP BY customer_id\nORDER BY revenue DESC\nLIMIT 10;" in data["code"]


async def test_a_real_model(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    openai_server.say("```rust\nfn answer() -> u8 { 0x2a }\n```\nForty-two, in hex.")
    taken = await takes(served)(
        "Write a Rust function that gives the answer",
        context={"style": "no comments"},
        history=[Turn(role="user", text="hello there", agent=Agent.CONTENT)],
    )

    result = taken.result.result
    assert result.data == {
        "code": "fn answer() -> u8 { 0x2a }",
        "language": "rust",
        "explanation": "Forty-two, in hex.",
    }
    assert not result.model.scripted
    assert taken.text == "```rust\nfn answer() -> u8 { 0x2a }\n```\nForty-two, in hex."
    assert taken.chunks[-1].done
    (asked,) = openai_server.asked
    assert asked.body["stream"] is True
    said = str(asked.body["messages"])
    assert "no comments" in said
    assert "hello there" in said
    assert asked.body["messages"][0] == {"role": "system", "content": prompts.CODE.text}


async def test_nobody_who_reads_along(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    openai_server.say("```python\n1\n```")
    taken = await takes(served)("Write Python code", stream=False)
    assert not taken.chunks
    assert not openai_server.asked[0].body.get("stream")


@pytest.mark.parametrize("task", ["{x} {0} {{}} %s ${HOME} {task}", "```", "</task> <task>", "\\N{DASH} \x00"])
async def test_any_text_is_harmless(takes: Takes, saying: Callable[..., Saying], task: str) -> None:
    model = saying("```python\nok\n```")
    taken = await takes(model.model)(f"Write a Python function {task}")
    assert taken.result.result.data["code"] == "ok"
    assert prompts.read_data(model.requests[0].messages)["task"] == f"Write a Python function {task}"


async def test_a_failure_is_a_failure(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    """No result says what went wrong in the place of code."""
    from tests.model_server import Said

    openai_server.otherwise = Said(status=401, error="bad key")
    with pytest.raises(AgentFailed) as failed:
        await takes(served)("Write a Python function")
    assert failed.value.code == "LLM_UNAVAILABLE"


async def test_an_empty_task_is_refused(take: Take) -> None:
    for task in ("", "  \n"):
        with pytest.raises(AgentFailed) as failed:
            await take(task)
        assert failed.value.code == "NO_TASK"
