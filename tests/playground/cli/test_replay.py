"""`pf replay` and `pf test`: a recorded run once more, and as a test. The flows run in hosts of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from penguiflow.recording import cassette
from playground.__main__ import main
from playground.again import ReplayOrder
from playground.cli.outputs import MadeTestOutput, ReplayOutput
from playground.project import find_project
from playground.protocol import Result, Run
from playground.session import HostSession
from playground.sources import RunRefused

SOURCE = """
    import asyncio
    import pathlib
    import random
    import socket
    import time

    from pydantic import BaseModel

    from penguiflow import Message, ModelRegistry, Node, create


    class Order(BaseModel):
        do: str = "ask"


    class Text(BaseModel):
        text: str


    async def fetch(prompt: str) -> str:
        calls = pathlib.Path("calls")
        calls.write_text(calls.read_text() + "." if calls.exists() else ".")
        return f"{prompt} {random.random()}"


    async def obey(order: Order, ctx) -> Text:
        if order.do == "wait":
            await asyncio.Event().wait()
        first = Text(text=await ctx.record("model", fetch, "hello"))
        if order.do == "fail":
            raise LookupError("no such fish")
        if order.do == "chance":
            return Text(text=first.text + str(random.random()))
        if order.do == "odd":
            await ctx.record("lock", socket.socket)
        return first


    async def end(text: Text, ctx) -> Text:
        return Text(text=text.text.upper())


    a, b = Node(obey), Node(end)
    flow = create(a.to(b), b.to())
    registry = ModelRegistry()
    registry.register("obey", Order, Text)
    registry.register("end", Text, Text)
"""


@pytest.fixture
def target(project: Path) -> str:
    folder = project / "flows"
    folder.mkdir()
    (folder / "asking.py").write_text(dedent(SOURCE))
    return "flows/asking.py"


def run(target: str, do: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main(["run", target, "--json", "--input", json.dumps({"do": do})])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def change(project: Path, old: str, new: str) -> None:
    file = project / "flows" / "asking.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_it_comes_out_the_same_and_asks_nobody(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = run(target, "ask", capsys)
    assert main(["replay", "last", "--json"]) == 0
    output = ReplayOutput.model_validate_json(capsys.readouterr().out)
    assert (output.status, output.output, output.same) == ("ok", recorded["output"], True)
    assert (output.answered, output.made, output.origin) == (1, 0, recorded["trace_id"])
    assert (project / "calls").read_text() == "."
    # What it recorded is a trace like any other, with where it comes from.
    assert main(["inspect", output.trace_id, "--json"]) == 0
    start = json.loads(capsys.readouterr().out)["events"][0]
    assert start["data"]["origin"] == {"trace_id": recorded["trace_id"]}
    assert start["data"]["mode"] == "replay"


def test_a_changed_prompt_is_shown_with_its_place(
    project: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(target, "ask", capsys)
    change(project, '"hello"', '"hello there"')
    assert main(["replay", "last"]) == 4
    told = capsys.readouterr().err
    assert "the replay diverged at obey[0]/attempt[0]/model[0] (event 5 of the recording)" in told
    assert '-  "hello"' in told
    assert '+  "hello there"' in told
    assert (project / "calls").read_text() == "."
    assert main(["replay", "last", "--json"]) == 4


def test_what_comes_out_otherwise_is_told(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(target, "ask", capsys)
    change(project, "text.upper()", "text.lower()")
    assert main(["replay", "last"]) == 0
    told = capsys.readouterr()
    assert "the outcome is not the recorded one" in told.err
    assert '"text": "HELLO' in told.err
    assert '"text": "hello' in told.err


def test_a_failed_run_fails_again(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(target, "fail", capsys)["status"] == "error"
    assert main(["replay", "last", "--json"]) == 1
    output = ReplayOutput.model_validate_json(capsys.readouterr().out)
    assert output.status == "error"
    assert output.same


def test_it_goes_live_after_a_span(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = run(target, "ask", capsys)
    change(project, "text.text.upper()", 'await ctx.record("model", fetch, text.text)')
    assert main(["replay", recorded["trace_id"], "--live-after", "obey[0]", "--json"]) == 0
    output = ReplayOutput.model_validate_json(capsys.readouterr().out)
    assert (output.answered, output.made, output.same) == (1, 1, False)
    assert main(["replay", recorded["trace_id"], "--live-after", "nowhere"]) == 3
    assert main(["replay", recorded["trace_id"], "--live-after", "attempt"]) == 3
    assert "obey[0]/attempt[0]" in capsys.readouterr().err


def test_connections_are_named(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(target, "ask", capsys)
    line = "socket.create_connection(('192.0.2.1', 443))"
    change(project, "return Text(text=text", f"{line}; return Text(text=text")
    assert main(["replay", "last"]) == 4
    told = capsys.readouterr().err
    assert "tried to connect to 192.0.2.1:443 (at " in told
    assert "flows/asking.py:" in told


KNOCK = "with __import__('contextlib').suppress(OSError): socket.create_connection(('192.0.2.1', 443))"
FACTORY = "def build_flow():\n    {knock}\n    return create(a.to(b), b.to()), registry"


@pytest.mark.parametrize(
    ("old", "new"),
    [("class Order", f"{KNOCK}\nclass Order"), ("flow = create(a.to(b), b.to())", FACTORY.format(knock=KNOCK))],
    ids=["import", "factory"],
)
def test_what_modules_and_factories_connect_to_is_named_too(
    project: Path, target: str, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    run(target, "ask", capsys)
    change(project, old, new)
    assert main(["replay", "last"]) == 4
    told = capsys.readouterr().err
    assert "tried to connect to 192.0.2.1:443 (at " in told
    assert "flows/asking.py:" in told


def test_a_module_that_cannot_do_without_is_told_why(
    project: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(target, "ask", capsys)
    change(project, "class Order", "socket.create_connection(('192.0.2.1', 443))\n\nclass Order")
    assert main(["replay", "last"]) != 0
    assert "the replay is offline: no connection to 192.0.2.1:443" in capsys.readouterr().err


def test_processes_that_are_started_are_named(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    change(project, "return Text(text=text", 'import os; os.system("true other"); return Text(text=text')
    change(project, "class Order", 'import subprocess\nsubprocess.run(["true", "--it"])\n\nclass Order')
    run(target, "ask", capsys)
    assert main(["replay", "last"]) == 0
    told = capsys.readouterr().err
    assert "nobody watched what it did: true --it (at " in told
    assert "nobody watched what it did: true other (at " in told
    assert main(["replay", "last", "--json"]) == 0
    output = ReplayOutput.model_validate_json(capsys.readouterr().out)
    assert output.same
    assert [each["command"] for each in output.started] == ["true --it", "true other"]


def test_what_cannot_be_replayed_is_refused(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "last"]) == 3
    assert main(["replay", "0123"]) == 3
    run(target, "odd", capsys)
    assert main(["replay", "last"]) == 2
    assert "obey[0]/attempt[0]/lock[0]/response is a socket:socket" in capsys.readouterr().err
    (project / target).unlink()
    assert main(["replay", "last"]) == 3


def test_a_test_is_written_and_passes(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = run(target, "ask", capsys)
    assert main(["test", "last", "-o", "tests/test_asking.py", "--json"]) == 0
    told = MadeTestOutput.model_validate_json(capsys.readouterr().out)
    assert (told.test, told.cassette, told.calls) == ("tests/test_asking.py", "tests/cassettes/asking.json", 1)
    text = (project / told.test).read_text()
    assert recorded["output"]["text"] in text
    compile(text, told.test, "exec")
    assert cassette.Cassette.load(project / told.cassette).trace_id == recorded["trace_id"]
    assert pytest_in(project).returncode == 0
    change(project, '"hello"', '"hello there"')
    failed = pytest_in(project)
    assert failed.returncode == 1
    assert "diverged at obey[0]/attempt[0]/model[0]" in failed.stdout
    assert (project / "calls").read_text() == "."


def pytest_in(project: Path) -> subprocess.CompletedProcess[str]:
    """A session of its own, as a user's project has it."""
    plugins = [
        "-p",
        "penguiflow.recording.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "no:xdist",
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "tests"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_chance_from_outside_the_context_is_found(
    project: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(target, "chance", capsys)
    assert main(["test", "last", "-o", "tests/test_asking.py"]) == 4
    assert "node 'obey' does not send the same twice" in capsys.readouterr().err
    change(project, 'fetch, "hello"', 'fetch, f"hello {time.time_ns()}"')
    assert main(["test", "last", "-o", "tests/test_asking.py"]) == 4
    assert "node 'obey' does not ask the same twice" in capsys.readouterr().err
    assert not (project / "tests").exists()


def test_a_test_of_what_has_changed_is_refused(project: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(target, "ask", capsys)
    change(project, "text.upper()", "text.lower()")
    assert main(["test", "last", "-o", "tests/test_asking.py"]) == 4
    assert "node 'end' no longer sends what it sent when it was recorded" in capsys.readouterr().err
    assert main(["test", "last", "-o", "asking.py"]) == 2
    (project / "test_asking.py").touch()
    assert main(["test", "last", "-o", "test_asking.py"]) == 2
    assert "--force" in capsys.readouterr().err


def test_it_works_from_a_folder_of_the_project(
    project: Path, target: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(target, "ask", capsys)
    monkeypatch.chdir(project / "flows")
    assert main(["replay", "last", "--quiet"]) == 0
    assert main(["test", "last", "-o", "../tests/test_asking.py"]) == 0
    assert 'load_flow("flows/asking.py", beside=__file__)' in (project / "tests" / "test_asking.py").read_text()


async def test_a_replay_has_its_process_to_itself(target: str) -> None:
    """It blocks connections, and answers whatever is asked."""
    async with HostSession(find_project(), [target]) as host:
        accepted = await host.run(Run(target=target, input={"do": "wait"}))
        order = ReplayOrder(trace_id="t", file="nowhere.json")
        with pytest.raises(RunRefused, match="cannot share a process"):
            await host.run(Run(target=target, replay=order))
        assert await host.cancel(accepted.trace_id or "")
        async for frame in host.frames():
            if isinstance(frame, Result):
                assert frame.trace_id == accepted.trace_id
                break
