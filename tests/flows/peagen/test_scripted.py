"""The model that needs no key: it gives back the shape that a prompt shows, with bodies."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from peagen.core.answers import extract_answer
from peagen.scripted import reply_to, scripted_model
from peagen.scripted.shapes import fenced, shape_of
from peagen.scripted.writing import filled
from penguiflow.llm import LLMMessage, LLMRequest


def defined(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(ast.parse(code), "written", "exec"), names)
    return names


def test_functions_that_it_knows_are_written() -> None:
    shape = (
        '"""Words."""\n\nfrom __future__ import annotations\n\n\ndef split_words(text: str) -> list[str]:\n    ...\n'
    )
    code = filled(shape)
    assert code.startswith('"""Words."""\n\nfrom __future__ import annotations\n\nimport re\n')
    assert defined(code)["split_words"]("one two") == ["one", "two"]


def test_others_hold_what_their_examples_show_and_say_so() -> None:
    code = filled(
        'def area(width: int, height: int = 2, *, unit: str = "m") -> str:\n'
        '    """The area.\n\n    >>> area(3)\n    \'6m2\'\n    >>> area(3, height=3, unit="cm")\n    \'9cm2\'\n'
        "    >>> area(open('x'))\n    'never evaluated'\n    \"\"\"\n    ...\n"
    )
    area = defined(code)["area"]
    assert area(3) == "6m2"
    assert area(3, 3, unit="cm") == "9cm2"
    with pytest.raises(NotImplementedError, match="do not show"):
        area(4)
    assert "no more" in code


@pytest.mark.parametrize(
    "shape", ["def f(): ...\n", "class A:\n    def f(self):\n        ...\n", "def f():\n    ...\n"]
)
def test_what_nobody_knows_is_told_when_it_is_called(shape: str) -> None:
    code = filled(shape)
    ast.parse(code)
    assert "does not know `f`" in code


@pytest.mark.parametrize("shape", ["x = ...\n", "def f():\n    return 1\n", "not python {\n", "# only\n", ""])
def test_what_has_no_open_bodies_stays(shape: str) -> None:
    assert filled(shape).strip() == shape.strip()


def test_the_shape_is_below_its_heading() -> None:
    prompt = "# Task\n```\nno\n```\n## Example Format\ntext\n````python\na = 1\n```\nb\n```\n````\n## x\n```\nno\n```\n"
    shape = shape_of(prompt)
    assert shape is not None
    assert (shape.language, shape.text) == ("python", "a = 1\n```\nb\n```")
    assert shape_of("## Whatever\n~~~md\nx\n~~~\n") is not None
    assert shape_of("no block at all") is None
    assert shape_of("```\nnever closed") is None


@pytest.mark.parametrize("text", ["x = 1", "# T\n\n```sh\nls\n```", "a\n````\nb\n````\nc", "é ` `` x"])
def test_what_is_fenced_comes_out_again(text: str) -> None:
    assert extract_answer(fenced(text, "markdown"), "README.md").strip() == text
    assert extract_answer(fenced(text, ""), "x.py").strip() == text


async def test_it_answers_as_a_provider() -> None:
    model = scripted_model()
    messages = (LLMMessage.of("system", "You are."), LLMMessage.of("user", "## Example Format\n```\nshape\n```\n"))
    said = await model.complete(LLMRequest("scripted", messages))
    assert said.message.text == "```\nshape\n```\n"
    assert reply_to("nothing to go by").startswith("```\n# The scripted model")
