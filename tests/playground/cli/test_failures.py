from __future__ import annotations

from pathlib import Path

import pytest

from penguiflow.state.errors import (
    AmbiguousTrace,
    StoreNotWritable,
    StoreTooNew,
    StoreUnreadable,
    TraceNotFound,
)
from playground.cli.failures import ExitCode, Failure, explain
from playground.project import ProjectError
from playground.protocol import CodeError, CodeFrame, ModuleInfo
from playground.session import AmbiguousTarget, HostDied, LoadFailed
from playground.sources import RunRefused


def load_failed(**fields: object) -> LoadFailed:
    error = CodeError.model_validate({"kind": "import", "message": "KeyError: 'x'", **fields})
    return LoadFailed(ModuleInfo(path="flows/a.py", state="error", error=error))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnreadable("not a database"), 5),
        (StoreNotWritable("read-only"), 5),
        (StoreTooNew("newer", found=2, supported=1), 2),
        (TraceNotFound("no trace x", trace_id="x"), 3),
        (AmbiguousTrace("two", prefix="a", candidates=["a1", "a2"]), 3),
        (ProjectError("broken pyproject"), 2),
        (AmbiguousTarget("a.py", ["a.py:x", "a.py:y"]), 2),
        (RunRefused("does not fit"), 2),
        (HostDied("died", exit_code=1, signal=None, stderr="", interrupted=[]), 6),
        (load_failed(), 2),
        (load_failed(kind="not_found"), 3),
        (load_failed(kind="cycle"), 2),
        (Failure("as it is", ExitCode.STORE), 5),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    failure = explain(error)

    assert failure is not None
    assert failure.code == code
    assert failure.message


def test_what_nobody_expected_is_no_failure() -> None:
    assert explain(ValueError("x")) is None


def test_a_load_error_says_where_and_what_to_do() -> None:
    frames = [CodeFrame(file="flows/a.py", line=3, function="load", text="  return d['x']")]

    failure = explain(load_failed(file="flows/a.py", line=3, frames=frames, hint="look there"))

    assert failure is not None
    assert failure.message == "flows/a.py:3: KeyError: 'x'"
    assert failure.details == ["flows/a.py:3 in load", "    return d['x']"]
    assert failure.hint == "look there"
    bare = explain(load_failed())
    assert bare is not None
    assert bare.message == "flows/a.py: KeyError: 'x'"


def test_fields_that_do_not_fit_are_named() -> None:
    refused = RunRefused("the input does not fit", [{"path": "/a/0", "message": "bad"}, {"message": "worse"}])

    failure = explain(refused)
    told = explain(RunRefused("it does not fit: /a/0: bad", [{"path": "/a/0", "message": "bad"}]))

    assert failure is not None
    assert failure.details == ["/a/0: bad", "/: worse"]
    assert told is not None
    assert told.details == []


def test_what_was_meant_is_a_better_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "triage.py").touch()
    monkeypatch.chdir(tmp_path)
    missing = CodeError(kind="not_found", message="no module is named 'triage'", hint="check the spelling")

    failure = explain(LoadFailed(ModuleInfo(path="triage", state="error", error=missing)))

    assert failure is not None
    assert failure.hint == f"did you mean {Path('flows/triage.py')}?"


def test_nothing_is_said_twice() -> None:
    missing = explain(TraceNotFound("no trace begins with 'x' in db; `pf traces` lists them", trace_id="x"))
    several = explain(AmbiguousTrace("several: a1, a2; give more", prefix="a", candidates=["a1", "a2"]))

    assert missing is not None
    assert several is not None
    assert missing.message == "no trace begins with 'x' in db"
    assert (several.message, several.details) == ("several traces begin with a", ["a1", "a2"])


def test_many_candidates_are_cut() -> None:
    failure = explain(AmbiguousTrace("many", prefix="t", candidates=[f"t{number}" for number in range(25)]))

    assert failure is not None
    assert failure.details[:2] == ["t0", "t1"]
    assert failure.details[-1] == "… and 15 more"
