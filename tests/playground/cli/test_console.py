from __future__ import annotations

import io
import json

import pytest

from playground.cli.console import Console, json_text
from playground.cli.failures import Failure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_keeps_values_and_hides_what_steers_a_terminal() -> None:
    value = {"text": "a\x1b[31m\x00\x9b\u202e\ud800ü 日本", "n": [1, 2.5, None]}

    text = json_text(value)

    assert json.loads(text) == value
    assert text.isprintable()
    assert "ü 日本" in text


def test_numbers_that_json_lacks_become_null() -> None:
    assert json_text({"a": [float("nan"), float("inf"), 1.0]}) == '{"a": [null, null, 1.0]}'


def test_color_only_for_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    assert Console(Terminal(), Terminal()).out_paint("error", "x") == "\x1b[31mx\x1b[0m"
    assert Console(io.StringIO(), Terminal()).out_paint("error", "x") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Console(Terminal(), Terminal()).out_paint("error", "x") == "x"


def test_a_pipe_has_no_width() -> None:
    assert Console(io.StringIO(), io.StringIO()).width is None


def test_a_failure_is_one_message() -> None:
    err = io.StringIO()

    Console(io.StringIO(), err).fail(Failure("no\x1b such thing", hint="try this", details=["/a: bad"]))

    assert err.getvalue() == "pf: no␛ such thing\n  /a: bad\n  hint: try this\n"
