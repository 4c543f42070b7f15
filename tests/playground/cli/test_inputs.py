from __future__ import annotations

import io
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from playground.cli.failures import ExitCode, Failure
from playground.cli.inputs import read_json, read_json_object, read_moment


def test_json_from_the_flag_a_file_and_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "input.json"
    file.write_text('\ufeff{"a": "ü"}', encoding="utf-8")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"[1, 2]")))

    assert read_json('{"a": 1}', "--input") == {"a": 1}
    assert read_json(f"@{file}", "--input") == {"a": "ü"}
    assert read_json("-", "--input") == [1, 2]
    assert read_json(r'"\ud83d\udc27"', "--input") == "\U0001f427"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "--input is not JSON: Expecting property name"),
        ("hello", "--input is not JSON: Expecting value (line 1, column 1)"),
        ("NaN", "--input is not JSON: NaN is no JSON number"),
        ("[" * 100_000, "--input is nested too deeply"),
        ("1" * 10_000, "--input is not JSON: Exceeds the limit"),
        ("1e400", "--input is not JSON: 1e400 is too large"),
        (r'{"a": "\ud800"}', "--input has text that is not Unicode"),
        ('{"\udcff": 1}', "--input has text that is not Unicode"),
    ],
)
def test_what_is_not_json(text: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        read_json(text, "--input")

    assert caught.value.message.startswith(message)
    assert caught.value.code == ExitCode.USAGE


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b'"\xff"')

    with pytest.raises(Failure, match="no such file") as missing:
        read_json(f"@{tmp_path / 'missing.json'}", "--input")
    with pytest.raises(Failure, match="cannot be read"):
        read_json(f"@{tmp_path}", "--input")
    with pytest.raises(Failure, match="not UTF-8 text \\(byte 1\\)"):
        read_json(f"@{binary}", "--input")

    assert missing.value.code == ExitCode.NOT_FOUND


@pytest.mark.parametrize(("text", "kind"), [("[]", "an array"), ("1", "a number"), ("null", "null"), ("true", "a boo")])
def test_headers_must_be_an_object(text: str, kind: str) -> None:
    with pytest.raises(Failure, match=f"--headers must be a JSON object, not {kind}"):
        read_json_object(text, "--headers")
    assert read_json_object(None, "--headers") == {}
    assert read_json_object('{"tenant": "a"}', "--headers") == {"tenant": "a"}


def test_moments() -> None:
    now = time.time()
    midnight = datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0)

    assert read_moment("90s", now=now) == now - 90
    assert read_moment("1.5h", now=now) == now - 5400
    assert read_moment("2w", now=now) == now - 14 * 86400
    assert read_moment("today", now=now) == midnight.timestamp()
    assert 22 * 3600 <= midnight.timestamp() - read_moment("yesterday", now=now) <= 26 * 3600
    assert read_moment("2026-01-31T12:00:00+00:00") == 1769860800.0


@pytest.mark.parametrize("text", ["soon", "", "2026-13-01", "99999999999d"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(Failure, match="is no time"):
        read_moment(text)
