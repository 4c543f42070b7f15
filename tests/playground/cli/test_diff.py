"""`pf diff` on a store, without a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from penguiflow.recording.diff import diff_traces
from penguiflow.state.sqlite import SQLiteStateStore
from playground.__main__ import main
from playground.cli.outputs import DiffOutput
from playground.dashboard.text import cells
from playground.render.difference import diff_lines, side_by_side_lines

WriteTrace = Callable[..., Awaitable[None]]


@pytest.fixture
def traces(write_trace: WriteTrace) -> None:
    async def write() -> None:
        await write_trace("one", nodes=3)
        await write_trace("same", nodes=3)
        await write_trace("more", nodes=4, error={"code": "NODE_EXCEPTION", "message": "no \x1b[31mfish"})

    asyncio.run(write())


@pytest.mark.usefixtures("traces")
def test_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "one", "same"]) == 0
    equal = capsys.readouterr().out
    assert "\nno differences\n" in equal
    assert main(["diff", "one", "more"]) == 0
    text = capsys.readouterr().out
    assert main(["diff", "one", "more", "--side-by-side"]) == 0
    beside = capsys.readouterr().out
    assert main(["diff", "one", "more", "--json"]) == 0
    found = DiffOutput.model_validate_json(capsys.readouterr().out)

    assert text.index("first divergence") < text.index("work[3]: only in B") < text.index("statuses")
    assert "NODE_EXCEPTION" in text
    assert "\x1b" not in text + beside
    assert " | " in beside
    assert " > " in beside
    assert (found.equal, found.total, found.a.trace_id, found.b.status) == (False, 2, "one", "error")
    assert found.first is not None
    assert (found.first.path, found.first.a) == ("work[3]", None)
    assert [(count.name, count.a, count.b) for count in found.counts] == [("work", 3, 4)]


def test_a_fork_and_its_origin(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def write() -> None:
        store = SQLiteStateStore(project / ".penguiflow" / "state.db")
        origin = store.recorder(name="f").open("origin")
        for number in range(2):
            node = origin.start("node", "work", origin.root, {"message_id": f"m{number}"})
            origin.end("node", "work", node, origin.root, "ok")
        origin.close("ok")
        about = {"origin": {"trace_id": "origin", "seq": 2}, "forked": {"submissions": 0, "streams": [], "events": 1}}
        fork = store.recorder(name="f").open("fork", about)
        change = {"message_id": "m1", "path": "/payload/city", "before": "Oslo", "after": "Bergen", "by": "fork"}
        fork.event("edit", "fork", fork.root, change)
        node = fork.start("node", "work", fork.root, {"message_id": "m1"})
        fork.end("node", "work", node, fork.root, "ok")
        fork.close("ok")
        await store.close()

    asyncio.run(write())
    assert main(["diff", "origin", "fork"]) == 0
    text = capsys.readouterr().out
    assert "\nB is a fork of A after event 2: what came before is left out\n" in text
    assert "Bergen" in text
    assert "\n1 difference\n" in text
    assert main(["diff", "fork", "origin", "-y"]) == 0
    assert "A is a fork of B after event 2" in capsys.readouterr().out


@pytest.mark.usefixtures("traces")
def test_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "one", "nothing"]) == 3
    assert "nothing" in capsys.readouterr().err
    assert main(["diff", "one", "same", "--json", "-y"]) == 2
    assert main(["diff", "one", "same", "--limit", "0"]) == 2
    assert main(["diff", "one"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("traces")
@pytest.mark.parametrize("lines_of", [diff_lines, side_by_side_lines])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_fit_the_terminal(project: Path, width: int, lines_of: Callable[..., Iterator[str]]) -> None:
    async def read() -> list[str]:
        store = SQLiteStateStore(project / ".penguiflow" / "state.db", read_only=True)
        a, b = await store.get_trace("one"), await store.get_trace("more")
        diff = await diff_traces((store, "one"), (store, "more"))
        await store.close()
        return list(lines_of(diff, a, b, width=width))

    lines = asyncio.run(read())
    assert len(lines) > 10
    assert max(cells(line) for line in lines) <= width


def test_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "Compare two traces." in capsys.readouterr().out
