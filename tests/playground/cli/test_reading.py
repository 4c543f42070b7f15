"""`pf inspect` and `pf traces` on a store, without a process of their own."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penguiflow import Context, Headers, Message, Node, create, join_k
from penguiflow.bus import MemoryBus
from penguiflow.state import SQLiteStateStore
from playground.__main__ import main
from playground.cli import inspect, stores
from playground.cli.outputs import InspectOutput, TracesOutput
from playground.project import Project, find_project

WriteTrace = Callable[..., Awaitable[None]]


def run(*arguments: str) -> int:
    """The command, with the loop of its own that it starts."""
    return main(arguments)


@pytest.fixture
def traces(write_trace: WriteTrace) -> None:
    async def write() -> None:
        await write_trace("first-1", nodes=3, session="a")
        await write_trace("first-2", nodes=2, error={"code": "NODE_EXCEPTION", "message": "no \x1b[31mfish"})
        await write_trace("second", nodes=30)

    asyncio.run(write())


@pytest.mark.usefixtures("traces")
@pytest.mark.parametrize("page", [1, 7, 2000])
def test_json_is_whole_whatever_the_size_of_a_page(
    page: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (inspect, stores):
        monkeypatch.setattr(module, "PAGE", page)

    assert run("inspect", "last", "--json") == 0

    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = InspectOutput.model_validate_json(text)
    assert [event.seq for event in shown.events] == list(range(3 * 30 + 2))
    assert shown.trace.events == len(shown.events)
    assert len(shown.spans) == 31
    sent = [event.data["payload"]["value"] for event in shown.events if event.kind == "message.enqueued"]
    assert sent[4] == {"text": "\x1b[31m\u202e", "number": 4}
    assert json.loads(text)["schema"] == 1


@pytest.mark.usefixtures("traces")
def test_views(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "first-2") == 0
    tree = capsys.readouterr().out
    assert run("inspect", "first-2", "--events") == 0
    events = capsys.readouterr().out
    assert run("inspect", "second", "--mermaid") == 0
    mermaid = capsys.readouterr().out
    assert run("inspect", "second", "--full") == 0
    full = capsys.readouterr().out

    assert tree.startswith("✖ error  digest  ")
    assert "    NODE_EXCEPTION: no ␛[31mfish" in tree
    assert len(events.splitlines()) == 8
    assert mermaid.count("work->>Rookery: dict") == 30
    assert full.count("✔ work") == 30
    assert "\x1b" not in tree + events + mermaid + full


@pytest.mark.usefixtures("traces")
def test_which_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "first") == 3
    ambiguous = capsys.readouterr().err
    assert run("inspect", "nothing") == 3
    unknown = capsys.readouterr().err
    assert run("inspect", "sec") == 0

    assert "first-1" in ambiguous
    assert "first-2" in ambiguous
    assert "second" not in ambiguous
    assert "nothing" in unknown


@pytest.mark.usefixtures("traces")
def test_filters(capsys: pytest.CaptureFixture[str]) -> None:
    def found(*arguments: str) -> list[str]:
        assert run("traces", "--json", *arguments) == 0
        listed = TracesOutput.model_validate_json(capsys.readouterr().out)
        return [trace.trace_id for trace in listed.traces]

    assert found() == ["second", "first-2", "first-1"]
    assert found("--limit", "1") == ["second"]
    assert found("--status", "error") == ["first-2"]
    assert found("--session", "a") == ["first-1"]
    assert found("--text", "FISH") == ["first-2"]
    assert found("--flow", "other") == []
    assert found("--since", "1h", "--flow", "digest") == ["second", "first-2", "first-1"]
    assert found("--since", "2999-01-01") == []
    assert run("traces", "--flow", "other") == 0
    assert capsys.readouterr() == ("", "no traces match\n")


def test_what_was_done_in_the_background_is_no_run(write_trace: WriteTrace, capsys: pytest.CaptureFixture[str]) -> None:
    async def write() -> None:
        await write_trace("run")
        await write_trace("aside", flow="planner.memory", mode="background", origin={"trace_id": "run"})

    asyncio.run(write())

    def found(*arguments: str) -> list[str]:
        assert run("traces", "--json", *arguments) == 0
        listed = TracesOutput.model_validate_json(capsys.readouterr().out)
        return [trace.trace_id for trace in listed.traces]

    assert found() == ["run"]
    assert found("--all") == ["aside", "run"]
    assert found("--flow", "planner.memory") == ["aside"]
    assert run("inspect", "last") == 0
    assert "run" in capsys.readouterr().out.splitlines()[0]
    assert run("inspect", "aside") == 0
    assert "in the background of run" in capsys.readouterr().out


def test_a_project_without_traces(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("traces") == 0
    assert "no traces yet" in capsys.readouterr().err
    assert run("traces", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "traces": []}
    assert run("inspect", "last") == 3
    assert not (project / ".penguiflow").exists()


DIES = """
import asyncio, os, sys
from penguiflow.state.sqlite import SQLiteStateStore

async def main():
    store = SQLiteStateStore(sys.argv[1])
    log = store.recorder().open("left", {"flow": "digest"})
    log.start("node", "work", log.root)
    await store.flush()
    os._exit(1)

asyncio.run(main())
"""


def test_a_trace_whose_writer_died_is_closed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(find_project().database)], timeout=120, check=False)

    assert run("traces") == 0
    listed = capsys.readouterr().out
    assert run("inspect", "left", "--json") == 0
    shown = InspectOutput.model_validate_json(capsys.readouterr().out)

    assert "↯ interrupted  left" in listed
    assert [(span.name, span.status) for span in shown.spans if span.end_seq is not None][-1] == ("work", "interrupted")
    assert shown.trace.ended is not None
    assert [event.seq for event in shown.events] == list(range(len(shown.events)))


def test_a_tree_that_nobody_can_close_is_interrupted_all_the_same(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(project: Project) -> None:
        """There is no room on the disk."""

    monkeypatch.setattr("playground.cli.stores.close_abandoned", full)
    subprocess.run([sys.executable, "-c", DIES, str(find_project().database)], timeout=60, check=False)
    assert main(["inspect", "last"]) == 0
    out = capsys.readouterr().out
    assert "interrupted" in out
    assert "running" not in out


@pytest.mark.usefixtures("traces")
def test_home_can_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = find_project().home
    monkeypatch.setenv("PENGUIFLOW_HOME", str(tmp_path / "elsewhere"))
    moved = find_project().home
    assert run("inspect", "last") == 3
    moved.parent.mkdir(exist_ok=True)
    usual.rename(moved)

    assert run("inspect", "last") == 0
    assert "second" in capsys.readouterr().out


def test_what_a_join_of_workers_has_had(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def send(message: Message, ctx: Context) -> Message:
        return message

    async def work() -> str:
        left, right = Node(send, name="left"), Node(send, name="right")
        joint = join_k("gather", 2)
        store = SQLiteStateStore(project / ".penguiflow" / "state.db")
        bus = MemoryBus()
        flow = create(
            Node(send, name="split").to(left, right),
            left.to(joint),
            right.to(joint),
            joint.to(),
            name="parts",
            message_bus=bus,
            state_store=store,
        )
        flow.run()
        try:
            message = Message(payload={"n": 1}, headers=Headers(tenant="t"))
            async with asyncio.timeout(60):
                await flow.call(message)
        finally:
            await flow.stop()
            await store.close()
        return message.trace_id

    trace_id = asyncio.run(work())
    assert run("inspect", trace_id) == 0
    shown = capsys.readouterr().out
    parts = re.findall(r"gather · (\d) of 2 ← (left|right) (\w+) · (\w+) · waited", shown)
    assert sorted(number for number, *_ in parts) == ["1", "2"]
    assert {sender for _, sender, *_ in parts} == {"left", "right"}
    assert all(worker.startswith(short) for *_, short, worker in parts)
