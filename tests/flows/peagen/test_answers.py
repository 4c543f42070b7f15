"""The file's text out of what a model answered."""

from __future__ import annotations

import logging

import pytest

from peagen.core.answers import extract_answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("x = 1", "x = 1"),
        ("  x = 1\n\n", "x = 1"),
        ("", ""),
        ("Here:\n```python\nx = 1\n```\nThat's it.", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("~~~py\nx = '```'\n~~~", "x = '```'\n"),
        ("````\n```\ninner\n```\n````", "```\ninner\n```\n"),
        ("<think>```a```\nno</think>\n```\nyes\n```", "yes\n"),
        ("<think>one</think>a<think>two</think>", "a"),
        ("<think>cut off", ""),
        ("```python\nx = 1", "x = 1\n"),
        ("```\r\nx = 1\r\n```".replace("\r", ""), "x = 1\n"),
        ("``` not ` a fence\nx", "``` not ` a fence\nx"),
        ("```py\n```", ""),
        ("```markdown\n# A\n```bash\npip\n```\nmore\n```", "# A\n```bash\npip\n```\nmore\n"),
        ("  ```py\n  x\n  ```", "  x\n"),
    ],
)
def test_answers(answer: str, text: str) -> None:
    assert extract_answer(answer) == text


def test_blocks_that_are_not_closed_as_often_as_opened_end_at_the_first_end() -> None:
    assert extract_answer("```python\n'''\n```text\n'''\n```\nBye.") == "'''\n```text\n'''\n"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("# Title\n\n```bash\npip install x\n```\nEnd.", "# Title\n\n```bash\npip install x\n```\nEnd."),
        ("Sure!\n```markdown\n# Title\n```bash\npip\n```\n```", "# Title\n```bash\npip\n```\n"),
        ("```\n# Title\n```", "# Title\n"),
        ("```md\n# Title\n```\nHope it helps.", "# Title\n"),
        ("```bash\npip\n```\nis all.", "```bash\npip\n```\nis all."),
    ],
)
def test_a_document_with_examples_is_taken_whole(answer: str, text: str) -> None:
    assert extract_answer(answer, "docs/README.md") == text


def test_more_than_one_block_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "peagen"):
        assert extract_answer("```\na\n```\n```\nb\n```", "a.py") == "a\n"
    assert "for a.py has more than one fenced block" in caplog.text


def test_template_code_in_an_answer_is_text() -> None:
    assert extract_answer("```\n{{ 7 * 7 }}{% include 'x' %}\n```") == "{{ 7 * 7 }}{% include 'x' %}\n"
