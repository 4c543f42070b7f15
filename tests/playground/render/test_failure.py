from __future__ import annotations

from pathlib import Path

import pytest

from playground.render.failure import Frame, describe_error, short_path, user_frames

TRACEBACK = """Traceback (most recent call last):
  File "/x/.venv/lib/python3.12/site-packages/lib/a.py", line 3, in outer
    inner()
  File "/home/me/flows/triage.py", line 44, in ask
    return knowledge[key]
           ~~~~~~~~~^^^^^
  File "<frozen importlib._bootstrap>", line 1, in _find
KeyError: 'slow'
"""


def test_only_frames_of_the_user_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/me"))

    assert user_frames(TRACEBACK) == [Frame("flows/triage.py", 44, "ask", "return knowledge[key]")]


def test_our_own_frames_are_no_frames_of_the_user() -> None:
    ours = Path(__file__).resolve().parents[3] / "penguiflow" / "core.py"

    assert user_frames(f'  File "{ours}", line 1, in run\n    pass\n') == []


def test_paths_below_the_working_directory_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert short_path(str(tmp_path / "flows" / "a.py")) == str(Path("flows/a.py"))
    assert short_path("/elsewhere/a.py") == "/elsewhere/a.py"


def test_describe_error() -> None:
    assert describe_error(None) == ""
    assert describe_error({"code": "NODE_TIMEOUT", "message": "too slow"}) == "NODE_TIMEOUT: too slow"
    told = describe_error({"type": "KeyError", "message": "'a'\x1b[0m", "file": "/elsewhere/a.py", "line": 3})
    assert told == "KeyError: 'a'␛[0m  at /elsewhere/a.py:3"
