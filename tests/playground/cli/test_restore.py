"""`pf fork` and `pf resume` in this process; the flows run in hosts of their own, which are killed in earnest."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from penguiflow.state.sqlite import SQLiteStateStore
from playground.__main__ import main
from playground.cli.failures import Failure
from playground.cli.outputs import RestoreOutput
from playground.cli.restore import read_edits

SOURCE = """
    import os
    import pathlib
    import signal

    from pydantic import BaseModel

    from penguiflow import Context, ModelRegistry, Node, create


    class Note(BaseModel):
        text: str
        deadly: bool = False
        api_key: str = ""


    async def look_up(text):
        with open("asked", "a") as asked:
            asked.write(text)
        return text.upper()


    async def first(note: Note, ctx: Context) -> Note:
        return note.model_copy(update={"text": note.text + "1"})


    async def second(note: Note, ctx: Context) -> Note:
        found = await ctx.record("look up", look_up, note.text)
        if note.deadly and not pathlib.Path("survive").exists():
            await ctx.runtime._table.recorder.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return note.model_copy(update={"text": found + "2"})


    one, two = Node(first, name="first"), Node(second, name="second")
    flow = create(one.to(two), two.to())
    registry = ModelRegistry()
    registry.register("first", Note, Note)
    registry.register("second", Note, Note)
"""


@pytest.fixture
def flow(project: Path) -> Path:
    """A project with a flow of two nodes."""
    path = project / "notes.py"
    path.write_text(dedent(SOURCE), encoding="utf-8")
    return path


def run(trace_id: str, **note: Any) -> int:
    """Run the flow once."""
    return main(["run", "notes.py", "--trace-id", trace_id, "--quiet", "--input", json.dumps(note)])


def told(capsys: pytest.CaptureFixture[str]) -> RestoreOutput:
    """What `--json` printed."""
    return RestoreOutput.model_validate_json(capsys.readouterr().out)


async def kinds(project: Path, trace_id: str) -> list[tuple[str, str]]:
    """Kinds and names of a trace's events."""
    store = SQLiteStateStore(project / ".penguiflow" / "state.db", read_only=True)
    events = await store.load_events(trace_id)
    await store.close()
    return [(event.kind, event.name) for event in events]


def test_a_killed_run_is_resumed_and_repeats_no_answered_call(
    flow: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("t", text="a", deadly=True) == 6
    capsys.readouterr()
    (project / "survive").touch()

    assert main(["resume", "t", "--json"]) == 0

    output = told(capsys)
    assert (output.trace_id, output.origin, output.status, output.repeated) == ("t", "t", "ok", 1)
    assert output.output["text"] == "A12"
    assert (project / "asked").read_text(encoding="utf-8") == "a1"
    events = asyncio.run(kinds(project, "t"))
    assert events.count(("node.start", "first")) == 1
    assert events.count(("node.start", "second")) == 2
    assert events.count(("message.enqueued", "second->Rookery")) == 1

    assert main(["resume", "t"]) == 2
    assert "is over (ok): only an interrupted one can be resumed" in capsys.readouterr().err


def test_a_fork_goes_on_with_what_was_changed(flow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("t", text="a") == 0
    capsys.readouterr()

    assert main(["fork", "t", "--at", "2", "--set", "/payload/text=b", "--json"]) == 0

    output = told(capsys)
    assert output.origin == "t"
    assert output.seq == 2
    assert output.output["text"] == "B12"
    assert main(["fork", output.trace_id, "--at", "0", "--json"]) == 0
    assert told(capsys).output["text"] == "B12"


def test_what_cannot_be_had_again_is_named_before_anything_runs(
    flow: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("t", text="a", api_key="sk-planted-1234567890") == 0
    capsys.readouterr()

    assert main(["fork", "t", "--at", "2"]) == 2
    err = capsys.readouterr().err
    assert "holds a secret that the log does not have" in err
    assert "--set '/payload/api_key=…'" in err
    assert main(["fork", "t", "--at", "2", "--set", "/payload/api_key=sk-other-1234567890", "--json"]) == 0
    assert told(capsys).output["text"] == "A12"

    flow.write_text(flow.read_text(encoding="utf-8").replace('name="second"', 'name="other"'), encoding="utf-8")
    flow.write_text(flow.read_text(encoding="utf-8").replace('("second"', '("other"'), encoding="utf-8")
    arrived = main(["fork", "t", "--at", "8", "--set", "/payload/api_key=sk-other-1234567890"])
    assert arrived == 2
    assert "the flow has no node 'second' any more" in capsys.readouterr().err
    assert (project / "asked").read_text(encoding="utf-8") == "a1a1"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fork", "nothing", "--at", "1"], 3, "no trace begins with 'nothing'"),
        (["resume", "nothing"], 3, "no trace begins with 'nothing'"),
        (["fork", "t", "--at", "1000"], 2, "has the events 0 to"),
        (["fork", "t", "--at", "-1"], 2, "has the events 0 to"),
        (["fork", "t"], 2, "--at"),
        (["fork", "t", "--at", "2", "--set", "text=b"], 2, "is no PATH=VALUE"),
        (["fork", "t", "--at", "2", "--set", "/payload/text"], 2, "is no PATH=VALUE"),
        (["fork", "t", "--at", "2", "--set", "/payload/no/where=1"], 2, "there is nothing at /payload/no"),
        (["fork", "t", "--at", "2", "--set", "/payload/deadly=maybe"], 2, "deadly"),
        (["fork", "t", "--at", "2", "--target", "gone.py"], 3, "gone.py"),
    ],
)
def test_what_makes_no_sense_is_refused(
    flow: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("t", text="a") == 0
    capsys.readouterr()
    assert main(arguments) == code
    assert words in capsys.readouterr().err


def test_values_are_json_where_they_are_json() -> None:
    edits = read_edits(["/payload/a=1", "/payload/b=[1, 2]", "/payload/c=hi there", '/payload/d="1"', "/payload/e="])
    assert list(edits.values()) == [1, [1, 2], "hi there", "1", ""]
    assert read_edits(["/payload/a=b=c", "feed:/payload/x=null"]) == {"/payload/a": "b=c", "feed:/payload/x": None}
    with pytest.raises(Failure, match="twice"):
        read_edits(["/a=1", "/a=2"])
