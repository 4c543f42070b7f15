"""The commands on traces that a PostgreSQL server keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
AddFlow = Callable[..., str]

ASK = """
    import os
    import signal

    from penguiflow import Node, create

    async def call(text):
        return text.upper()

    async def first(message, ctx):
        return message.model_copy(update={"payload": await ctx.record("model", call, message.payload)})

    async def second(message, ctx):
        if os.environ.get("CRASH"):
            os.kill(os.getpid(), signal.SIGKILL)
        return message.model_copy(update={"payload": message.payload + "!"})

    one, two = Node(first, name="first"), Node(second, name="second")
    flow = create(one.to(two), two.to())
"""


@pytest.fixture
def url(postgres_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("PENGUIFLOW_STORE", raising=False)
    address: str = postgres_server.fresh_url()
    return address


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_run_is_recorded_inspected_replayed_forked_and_compared(
    pf: RunCommand, add_flow: AddFlow, project: Path, url: str
) -> None:
    target = add_flow("ask", ASK)
    there = {"PENGUIFLOW_STORE": url}

    run = json.loads(done(pf("run", target, "--input", '"hi"', "--json", "--store", url)))
    assert (run["status"], run["output"]) == ("ok", "HI!")
    trace_id = run["trace_id"]
    listed = json.loads(done(pf("traces", "--json", env=there)))
    assert [trace["trace_id"] for trace in listed["traces"]] == [trace_id]
    shown = json.loads(done(pf("inspect", "last", "--json", env=there)))
    assert shown["trace"]["trace_id"] == trace_id
    assert [event["seq"] for event in shown["events"]] == list(range(shown["trace"]["events"]))
    assert json.loads(done(pf("replay", trace_id, "--json", env=there)))["status"] == "ok"
    forked = json.loads(done(pf("fork", trace_id, "--at", "5", "--set", "/payload=other", "--json", env=there)))
    assert forked["output"] == "OTHER!"
    assert "fork" in done(pf("diff", trace_id, forked["trace_id"], env=there))
    assert "first" in done(pf("search", "OTHER", env=there))
    assert "ask" in done(pf("stats", env=there))
    assert "3 traces" in done(pf("prune", "--keep", "0", env=there))
    # Nothing of it was written into the project.
    assert not (project / ".penguiflow" / "state.db").exists()


def test_a_run_that_was_killed_goes_on(pf: RunCommand, add_flow: AddFlow, project: Path, url: str) -> None:
    target = add_flow("ask", ASK)
    (project / "pyproject.toml").write_text('[tool.penguiflow]\nstore = "${TRACES}"\n')
    there = {"TRACES": url}

    assert pf("run", target, "--input", '"hi"', "--trace-id", "t", env={**there, "CRASH": "1"}).returncode == 6
    assert "interrupted" in done(pf("traces", env=there))
    assert json.loads(done(pf("resume", "t", "--json", env=there)))["output"] == "HI!"
    events = json.loads(done(pf("inspect", "t", "--json", env=there)))["events"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert {event["epoch"] for event in events} == {0, 1}


def test_a_trace_goes_from_one_store_to_the_other(pf: RunCommand, add_flow: AddFlow, project: Path, url: str) -> None:
    target = add_flow("ask", ASK)
    done(pf("run", target, "--input", '"hi"', "--trace-id", "t"))
    done(pf("export", "t", "t.pftrace"))
    assert "events" in done(pf("import", "t.pftrace", "--store", url))
    assert "is here already" in done(pf("import", "t.pftrace", "--store", url))
    before, after = (json.loads(done(pf("inspect", "t", "--json", *to)))["events"] for to in ((), ("--store", url)))
    assert before == after


def test_the_dashboard_shows_its_runs(pf: RunCommand, add_flow: AddFlow, project: Path, url: str) -> None:
    target = add_flow("ask", ASK)
    done(pf("run", target, "--input", '"hi"', "--trace-id", "kept-there", "--store", url))
    done(pf("tui", "--screenshot", "shot.svg", "--keys", "2,enter", "--store", url))
    picture = (project / "shot.svg").read_text().replace("&#160;", " ")
    assert "kept-there" in picture
    assert " spans · " in picture


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"user": "guest:wrong"}, 5, "password authentication failed"),
        ({"database": "nowhere"}, 5, 'database "nowhere" does not exist'),
    ],
)
def test_what_is_wrong_with_a_server_is_one_message(
    pf: RunCommand, add_flow: AddFlow, postgres_server: Any, url: str, change: dict[str, str], code: int, says: str
) -> None:
    target = add_flow("ask", ASK)
    address = postgres_server.url("mine", **change)
    for command in (("run", target, "--input", '"hi"'), ("traces",), ("tui", "--screenshot", "shot.svg")):
        result = pf(*command, "--store", address)
        assert (result.returncode, result.stdout) == (code, "")
        assert says in result.stderr
        assert result.stderr.count("pf: ") == 1
        assert "wrong" not in result.stderr


def test_an_address_that_is_none_is_one_message(pf: RunCommand, project: Path, url: str) -> None:
    result = pf("traces", "--store", "mysql://u:secret@h/db")
    assert (result.returncode, result.stdout) == (2, "")
    assert "postgresql://" in result.stderr
    assert "secret" not in result.stderr
    result = pf("traces", "--store", "postgresql://penguin@127.0.0.1:1/db")
    assert result.returncode == 5
    assert "is the server running?" in result.stderr
    (project / "pyproject.toml").write_text('[tool.penguiflow]\nstore = "${NOT_SET}"\n')
    result = pf("traces")
    assert result.returncode == 2
    assert "NOT_SET, which is not set" in result.stderr


def test_tables_of_a_later_version_are_refused(
    pf: RunCommand, add_flow: AddFlow, postgres_server: Any, url: str
) -> None:
    target = add_flow("ask", ASK)
    done(pf("run", target, "--input", '"hi"', "--store", url))
    schema = url.rpartition("=")[2]
    postgres_server.execute(f"UPDATE {schema}.schema_version SET version = 99")
    for command in (("traces",), ("run", target, "--input", '"hi"')):
        result = pf(*command, "--store", url)
        assert result.returncode == 2
        assert "newer penguiflow" in result.stderr


def test_no_process_that_is_started_has_the_address_among_its_arguments(
    add_flow: AddFlow, project: Path, url: str
) -> None:
    target = add_flow("see", SEE)
    program = ["-m", "playground", "run", target, "--input", '"hi"', "--json"]
    environment = {**os.environ, "PENGUIFLOW_STORE": url.replace("penguin@", "penguin:secret@")}
    seen = subprocess.run(
        [sys.executable, *program], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(seen.stdout)["output"] == [False, False]


SEE = """
    import os
    from pathlib import Path

    from penguiflow import Node, create

    async def see(message, ctx):
        ours = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (os.getpid(), os.getppid())]
        return message.model_copy(update={"payload": [b"secret" in each for each in ours]})

    flow = create(Node(see, name="see").to())
"""
