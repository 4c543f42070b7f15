"""What commands print: nothing steers the terminal, and JSON stays JSON."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator

import pytest

from peagen.cli.console import DEBUG, NORMAL, QUIET, VERBOSE, Console
from peagen.cli.progress import Progress

HOSTILE = "a\x1b[2Jb\x07\x9bc\x7f\rd\udcff"


@contextlib.contextmanager
def streams(encoding: str) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    out, err = io.BytesIO(), io.BytesIO()
    with (
        contextlib.redirect_stdout(io.TextIOWrapper(out, encoding, write_through=True)),
        contextlib.redirect_stderr(io.TextIOWrapper(err, encoding, write_through=True)),
    ):
        yield out, err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_steers_a_terminal_is_shown_as_it_is_written(encoding: str) -> None:
    with streams(encoding) as (out, err):
        console = Console(DEBUG)
        console.result(HOSTILE)
        console.note(HOSTILE)
        Progress(console)({"type": "file.asked", "file": HOSTILE, "model": "m", "prompt": "two\nlines"})
        shown = "a\\x1b[2Jb\\x07\\x9bc\\x7f\\x0dd\\udcff"
        assert out.getvalue().decode() == f"{shown}\n"
        assert err.getvalue().decode() == f"{shown}\nprompt for {shown}, to m:\ntwo\nlines\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_can_be_read_whatever_it_holds(encoding: str) -> None:
    value = {HOSTILE: ["\U0001f427", HOSTILE]}
    with streams(encoding) as (out, _):
        Console().json(value)
        text = out.getvalue().decode()
    assert json.loads(text) == value
    assert not set(text) & set("\x1b\x07\x9b\x7f\r")


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (QUIET, ["[ERROR] e"]),
        (NORMAL, ["n", "[WARNING] w", "[ERROR] e"]),
        (VERBOSE, ["n", "d", "[WARNING] w", "[ERROR] e", "[1/2] created: f"]),
    ],
)
def test_how_much_is_said(level: int, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(level)
    console.note("n")
    console.detail("d")
    console.warn("w")
    console.error("e")
    with Progress(console) as progress:
        progress({"type": "process.started", "files": 2})
        progress({"type": "file.asked", "file": "f", "model": "m", "prompt": "p"})
        progress({"type": "file.done", "done": 1, "files": 2, "file": "f", "status": "created"})
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", said)
