"""Exceptions as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import penguiflow
from penguiflow.recording.failures import MAX_FRAMES, MAX_TRACEBACK_CHARS, exception_to_data, is_user_file
from penguiflow.recording.payloads import encode_data


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def caught(function: object, *args: object) -> BaseException:
    assert callable(function)
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def fail(message: str) -> None:
    raise ValueError(message)


def test_it_names_the_line_of_the_users_code() -> None:
    data = exception_to_data(caught(fail, "broken"))
    assert data["type"] == "ValueError"
    assert data["message"] == "broken"
    assert data["file"] == __file__
    assert data["line"] == fail.__code__.co_firstlineno + 1
    assert data["traceback"].startswith("Traceback (most recent call last):")
    assert data["traceback"].rstrip().endswith("ValueError: broken")


def test_frames_of_libraries_are_passed_over() -> None:
    def call_library() -> None:
        json.loads("{")

    data = exception_to_data(caught(call_library))
    assert data["type"] == "JSONDecodeError"
    assert (data["file"], data["line"]) == (__file__, call_library.__code__.co_firstlineno + 1)
    assert "decoder.py" in data["traceback"]


def test_without_a_user_frame_the_innermost_counts() -> None:
    # From its second entry on the traceback holds only the library's frames.
    error = caught(json.loads, "{")
    assert error.__traceback__ is not None
    data = exception_to_data(error.with_traceback(error.__traceback__.tb_next))
    assert Path(data["file"]).name == "decoder.py"


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    data = exception_to_data(KeyError("x"))
    assert (data["file"], data["line"]) == (None, None)
    assert data["message"] == "'x'"


@pytest.mark.parametrize(
    "filename", [json.__file__, pytest.__file__, penguiflow.__file__, "<frozen importlib._bootstrap>"]
)
def test_library_files_are_not_the_users(filename: str) -> None:
    assert not is_user_file(filename)


@pytest.mark.parametrize("filename", [__file__, "<string>", "/home/ada/playground/flow.py", "flows/penguiflow.py"])
def test_other_files_are_the_users(filename: str) -> None:
    assert is_user_file(filename)


def test_a_chain_is_shown() -> None:
    def chained() -> None:
        try:
            fail("first")
        except ValueError as error:
            raise RuntimeError("second") from error

    text = exception_to_data(caught(chained))["traceback"]
    assert "ValueError: first" in text
    assert "RuntimeError: second" in text


def test_a_traceback_shows_its_innermost_frames() -> None:
    def even(depth: int) -> None:
        odd(depth - 1)

    def odd(depth: int) -> None:
        # Two functions in turn: repeated lines of one would be folded.
        if depth < 0:
            fail("at the bottom")
        even(depth - 1)

    text = exception_to_data(caught(even, 2 * MAX_FRAMES))["traceback"]
    assert text.count("  File ") == MAX_FRAMES
    assert "in fail" in text


def test_long_tracebacks_and_messages_are_bounded() -> None:
    def recurse(depth: int) -> None:
        if depth == 0:
            fail("x" * 100_000 + "\ud800")
        recurse(depth - 1)

    data = exception_to_data(caught(recurse, 300))
    assert len(data["message"]) < 3000
    assert len(data["traceback"]) <= MAX_TRACEBACK_CHARS + 100
    assert encode_data(data)


def test_deep_recursion_shows_the_innermost_frames() -> None:
    def forever() -> None:
        forever()

    data = exception_to_data(caught(forever))
    assert data["type"] == "RecursionError"
    assert len(data["traceback"].splitlines()) < 100


def test_a_failing_str_is_told() -> None:
    data = exception_to_data(caught(lambda: (_ for _ in ()).throw(Silent())))
    assert "RuntimeError" in data["message"]
    assert data["type"] == "Silent"
    assert data["traceback"]
