"""`penguiflow-admin`: the stored history of a trace."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow.admin import load_state_store, main, render_events
from penguiflow.state import InMemoryStateStore, StoredEvent

METHODS = ["save_event", "load_history", "save_remote_binding"]

MODULE = """
    import asyncio
    from penguiflow.state import InMemoryStateStore, StoredEvent

    closed = []

    class Store(InMemoryStateStore):
        async def close(self):
            closed.append(self)

    async def make():
        store = Store()
        for number in range(3):
            await store.save_event(StoredEvent("t1", float(number), "node_start", "n", "id", {"b": number, "a": 1}))
        return store

    class nested:
        store = InMemoryStateStore

    def broken():
        raise LookupError("no such server")

    def wrong():
        return object()

    number = 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's, in the folder where the command is called."""
    name = "admin_test_stores"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def event(number: int, **payload: Any) -> StoredEvent:
    return StoredEvent("t", float(number), "kind", "node", None, payload)


def test_a_line_for_each_event() -> None:
    (line,) = render_events([event(1, b=1, event="else", a=object)])
    about = {
        "a": str(object),
        "b": 1,
        "event": "kind",
        "node_id": None,
        "node_name": "node",
        "trace_id": "t",
        "ts": 1.0,
    }
    assert json.loads(line) == about
    assert list(json.loads(line)) == sorted(about)


@pytest.mark.parametrize(("tail", "left"), [(None, 3), (2, 2), (9, 3), (0, 0), (-1, 0)])
def test_the_last_lines(tail: int | None, left: int) -> None:
    events = [event(number) for number in range(3)]
    assert render_events(events, tail=tail) == render_events(events)[3 - left :]


def test_what_cannot_be_sorted_or_ends_nowhere() -> None:
    loop: list[Any] = []
    loop.append(loop)
    (line,) = render_events([event(1, mixed={1: "a", "b": 2}, loop=loop)])
    assert json.loads(line)["mixed"] == {"1": "a", "b": 2}
    assert json.loads(line)["loop"] == "[[...]]"


def test_the_history(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--state-store", f"{project}:make", "--tail", "2", "t1"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["b"] for line in out.splitlines()] == [1, 2]
    assert err == ""
    assert len(sys.modules[project].closed) == 1


def test_a_replay(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--state-store", f"{project}:make", "--delay", "0.001", "t1"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "# replay trace=t1 events=3"
    assert [json.loads(line)["ts"] for line in lines] == [0.0, 1.0, 2.0]


def test_a_trace_without_events(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = "# trace t9 has no stored events\n"
    assert main(["replay", "--state-store", f"{project}:make", "t9"]) == 0
    assert capsys.readouterr() == (nothing, "")
    assert main(["history", "--state-store", f"{project}:make", "t9"]) == 0
    assert capsys.readouterr() == ("", nothing)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("nowhere", "state store spec must be in the form 'package.module:callable'"),
        (":make", "state store spec must be in the form 'package.module:callable'"),
        ("no_such_module_here:make", "No module named 'no_such_module_here'"),
        ("admin_test_stores:missing", "module 'admin_test_stores' has no attribute 'missing'"),
        ("admin_test_stores:number", "state store spec 'admin_test_stores:number' does not name a callable"),
        ("admin_test_stores:broken", "no such server"),
        ("admin_test_stores:wrong", f"StateStore missing {METHODS} required for feature=penguiflow-admin"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_goes_wrong_is_one_line(spec: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--state-store", spec, "t1"]) == 1
    assert capsys.readouterr() == ("", f"error: {error}\n")


async def test_loading_a_store(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert type(await load_state_store(f"{project}:nested.store")) is InMemoryStateStore
    assert type(await load_state_store(f"{project}:make")).__name__ == "Store"
    with pytest.raises(ValueError, match="state store spec must be in the form"):
        await load_state_store("nowhere:")


@pytest.mark.usefixtures("project")
def test_a_reader_that_has_enough() -> None:
    script = "import sys; from penguiflow.admin import main; sys.exit(main())"
    arguments = ["history", "--state-store", "admin_test_stores:make", "t1"]
    child = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(60) == 0


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "penguiflow.admin", "history", "t", "--state-store", "no-colon"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: state store spec must be in the form 'package.module:callable'\n"
