"""Objects are found in replies, and become actions, in time proportional to the length of the reply."""

from __future__ import annotations

import json
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow.planner.extraction import MAX_OBJECTS, read_reply
from penguiflow.planner.migration import (
    MAX_ALTERNATES,
    dump_action_legacy,
    normalize_action,
    normalize_action_with_debug,
    read_action,
    try_normalize_action,
)

GOOD = {"next_node": "search", "args": {"query": "x"}}
GOOD_TEXT = json.dumps(GOOD)
SIZE = 1_000_000
HOSTILE = (
    *(
        "{",
        '{"',
        '{"a":',
        "{'a':",
        '{"a": "',
        "[",
        "]",
        "}",
        "{}",
        '{"a":1}',
        '"',
        "'",
        "`",
        "```\n",
        "\\",
        '\\"',
        "{/*",
    ),
    *("{//", '{"next_node":', '{"next_node": "x", "args": {"a": "', "{a:", "{a b", " ", "\n", "\u201c", '{"a": [', "x"),
    "{'a', ",
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_megabyte_is_read_in_the_time_of_some_plain_parses(text: str) -> None:
    plain = json.dumps({"next_node": "final_response", "args": {"answer": ["penguin"] * (SIZE // 11)}})
    reply = text * (SIZE // len(text))

    def seconds(what: object, count: int) -> float:
        best = float("inf")
        for _ in range(count):
            began = thread_time()
            json.loads(str(what)) if what is plain else read_reply(str(what))
            best = min(best, thread_time() - began)
        return best

    assert seconds(reply, 2) < 400 * seconds(plain, 3)


@pytest.mark.parametrize("text", HOSTILE)
def test_an_action_behind_anything_but_an_open_string_is_found_if_it_is_near(text: str) -> None:
    read = read_action(f"{text}\n{GOOD_TEXT}")
    assert read.action is None or read.action.next_node in ("search", "x")


@given(values)
@settings(deadline=None)
def test_what_was_written_as_json_is_read_as_it_was(value: object) -> None:
    data = {"next_node": "search", "args": {"value": value}}
    for text in (json.dumps(data), f"So: {json.dumps(data, indent=2)}!", f"```json\n{json.dumps(data)}\n```"):
        [found] = read_reply(text).objects
        assert found.data == data


@given(values)
@settings(deadline=None)
def test_python_literals_are_read(value: object) -> None:
    data = {"next_node": "search", "args": {"value": value}}
    found = read_reply(f"I call {data!r}").objects
    if found:  # what looks like JSON is read as JSON
        assert found[0].data["next_node"] == "search"
        assert found[0].data == data


@given(st.text(), st.integers(1, 60))
@settings(deadline=None)
def test_a_reply_that_is_cut_off_is_told_from_a_whole_one(answer: str, cut: int) -> None:
    text = json.dumps({"next_node": "final_response", "args": {"answer": answer}}, ensure_ascii=False)
    read = read_action(text[: -min(cut, len(text))])
    if read.action is not None:
        said = read.action.get_answer() or ""
        assert answer.startswith(said)
        assert read.how == "partial" or said == answer


def test_the_best_action_wins_and_the_others_are_kept() -> None:
    texts = [json.dumps({"next_node": f"tool_{number}", "args": {}}) for number in range(9)]
    action = normalize_action("I could\n" + "\n".join(texts))
    assert action.next_node == "tool_0"
    assert [other["next_node"] for other in action.alternate_actions or ()] == [f"tool_{n}" for n in range(1, 6)]
    assert len(action.alternate_actions or ()) == MAX_ALTERNATES
    chosen = read_action("\n".join(texts), known={"tool_7"}).action
    assert chosen is not None
    assert chosen.next_node == "tool_7"


def test_what_stood_around_an_action_is_told() -> None:
    action, debug = normalize_action_with_debug(f'Here: {GOOD_TEXT} {{"other": 1}} ok')
    assert action.args == {"query": "x"}
    assert debug is not None
    assert (debug["candidate_count"], debug["other_json_count"], debug["selected_source"]) == (2, 1, "inside")
    assert debug["ignored_text_len"] == len("Here:   ok")
    assert normalize_action_with_debug(GOOD)[1] is None


@pytest.mark.parametrize("text", ["", "no", "[1]", '{"a": 1}', GOOD_TEXT[:-6], '{"next_node": 1, "args": {}}'])
def test_what_is_no_action_is_refused(text: str) -> None:
    assert try_normalize_action(text) is None
    with pytest.raises(ValueError, match="no action"):
        normalize_action(text)


def test_half_an_answer_is_an_answer() -> None:
    action = normalize_action('{"next_node": "final_response", "args": {"answer": "forty-')
    assert action.get_answer() == "forty-"


def test_the_form_on_disk_is_read_back() -> None:
    for data in (
        GOOD,
        {"next_node": "final_response", "args": {"answer": "a"}},
        {"next_node": "parallel", "args": {"steps": [{"node": "a", "args": {}}]}},
    ):
        action = normalize_action(data)
        again = normalize_action(dump_action_legacy(action))
        assert (again.next_node, again.args) == (action.next_node, action.args)


def test_no_more_places_are_tried_than_is_said() -> None:
    assert len(read_reply('{"a": 1}' * (3 * MAX_OBJECTS)).objects) == MAX_OBJECTS
