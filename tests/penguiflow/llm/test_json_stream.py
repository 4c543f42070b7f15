"""The text of one field while its reply comes."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow.llm.json_stream import FieldStream

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True, database=None)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('😀👩‍🚀"\\/\n\t{}[]:,ü'), max_size=30)


def read(pieces: Iterable[str], field: str = "answer") -> list[str]:
    stream = FieldStream(field)
    given_out = [stream.feed(piece) for piece in pieces]
    for piece in given_out:
        piece.encode()
    assert stream.text == "".join(given_out)
    return given_out


def reply_of(answer: str, thought: str, *, escaped: bool) -> str:
    action = {
        "thought": thought,
        "args": {"sources": [{"id": 1, "text": '"answer": "no"'}], "answer": answer, "after": "answer"},
        "next_node": "final_response",
    }
    return json.dumps(action, ensure_ascii=escaped)


@EXAMPLES
@given(TEXTS, TEXTS, st.booleans())
def test_wherever_a_reply_is_cut_in_two(answer: str, thought: str, escaped: bool) -> None:
    reply = reply_of(answer, thought, escaped=escaped)
    for cut in range(len(reply) + 1):
        assert "".join(read([reply[:cut], reply[cut:]])) == answer


@EXAMPLES
@given(TEXTS, st.integers(1, 7), st.booleans())
def test_pieces_of_any_size(answer: str, size: int, escaped: bool) -> None:
    reply = "Here it is:\n```json\n" + reply_of(answer, "", escaped=escaped) + "\n```"
    assert "".join(read(reply[start : start + size] for start in range(0, len(reply), size))) == answer


@EXAMPLES
@given(TEXTS)
def test_a_reply_whose_characters_are_cut_in_two(answer: str) -> None:
    units = reply_of(answer, "", escaped=False).encode("utf-16-le")
    pieces = [units[start : start + 2].decode("utf-16-le", "surrogatepass") for start in range(0, len(units), 2)]
    assert "".join(read(pieces)) == answer


def test_an_emoji_is_given_when_it_is_whole() -> None:
    assert read(['{"answer": "a\\ud8', "3d\\", "ude", '00b"}']) == ["a", "", "", "😀b"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (r'{"answer": "\ud83d"}', "\ufffd"),
        (r'{"answer": "\ud83dx\ude00"}', "\ufffdx\ufffd"),
        (r'{"answer": "\ud83d\ud83d\ude00"}', "\ufffd😀"),
        (r'{"answer": "\q\u12G4"}', "q12G4"),
        ('{"answer": "line\nbreak"}', "line\nbreak"),
        ('{"answer": "it breaks o', "it breaks o"),
        ('{"answer": null, "args": {"answer": "second"}}', "second"),
        ('{"answer": 12}', ""),
        ('{"answers": "no", "an": "answer"}', ""),
        ('"answer": "no object"', ""),
        ('["answer", "no"]', ""),
        (r'{"\u0061nswer": "escaped key"}', "escaped key"),
        ('{"answer": "first"} {"answer": "second"}', "first"),
        ("", ""),
        ("}}]] nothing", ""),
    ],
)
def test_odd_replies(reply: str, text: str) -> None:
    assert "".join(read([reply])) == text
    assert "".join(read(reply)) == text


def test_it_says_when_the_field_is_complete() -> None:
    stream = FieldStream("next_node")
    told = [
        (stream.feed(piece), stream.done) for piece in ('{"next_node": "sea', 'rch", "args": {}}', '{"next_node": "x"}')
    ]
    assert told == [("sea", False), ("rch", True), ("", True)]
    assert stream.text == "search"
