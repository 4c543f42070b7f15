"""Planners by command: a decision that was edited holds after a `kill -9`, and a recording is replayed as it was."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from penguiflow.state.sqlite import SQLiteStateStore

if TYPE_CHECKING:
    from penguiflow.recording import TraceEvent
    from tests.e2e.conftest import AddFlow, RunCommand

T = TypeVar("T")

LIMIT_S = 120.0
AGENT = """
    from __future__ import annotations

    import asyncio
    import os
    from pathlib import Path

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node
    from penguiflow.checkpoints import Checkpoint, Decision
    from penguiflow.llm.scripted import ScriptedModel
    from penguiflow.planner import ReactPlanner


    class Page(BaseModel):
        url: str


    class Text(BaseModel):
        text: str


    async def fetch(args: Page, ctx) -> Text:
        with Path("fetched").open("a") as file:
            file.write(args.url + "\\n")
        if Path("hang").exists() and args.url == "corpus://right":
            Path("pid").write_text(str(os.getpid()))
            await asyncio.Event().wait()
        return Text(text=f"in {args.url}")


    async def decide(checkpoint: Checkpoint) -> Decision | None:
        if checkpoint.kind != "after_decision" or checkpoint.payload["args"].get("url") != "corpus://wrong":
            return None
        with Path("asked").open("a") as file:
            file.write("asked\\n")
        return Decision.edit({"next_node": "fetch", "args": {"url": "corpus://right"}})


    def answer(request):
        with Path("answered").open("a") as file:
            file.write("answered\\n")
        said = [message.text for message in request.messages if message.role == "user"][-1]
        return {"next_node": "final_response", "args": {"answer": f"it says {said}"}}


    def first(request):
        with Path("answered").open("a") as file:
            file.write("first\\n")
        return {"next_node": "fetch", "args": {"url": "corpus://first"}}


    registry = ModelRegistry()
    registry.register("fetch", Page, Text)
    planner = ReactPlanner(
        ScriptedModel(rules=[(lambda _: True, [
            first,
            {"next_node": "fetch", "args": {"url": "corpus://wrong"}},
            answer,
        ])]),
        nodes=[Node(fetch, name="fetch")],
        registry=registry,
        interceptors=[decide],
    )
"""


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def until(condition: Callable[[], T | None]) -> T:
    """Wait for what it gives."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError


async def _read(database: Path) -> dict[str, list[TraceEvent]]:
    store = SQLiteStateStore(database)
    try:
        return {trace.trace_id: await store.load_events(trace.trace_id) for trace in await store.find_traces()}
    finally:
        await store.close()


def traces(project: Path) -> dict[str, list[TraceEvent]]:
    """Events by trace."""
    database = project / ".penguiflow" / "state.db"
    return asyncio.run(_read(database)) if database.exists() else {}


def with_calls(project: Path, count: int) -> str | None:
    """The trace that has so many calls of tools."""
    for trace_id, events in traces(project).items():
        if [event.kind for event in events].count("tool.start") >= count:
            return trace_id
    return None


def test_an_edited_decision_after_a_kill(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("agent", AGENT)
    (project / "hang").touch()
    command = [sys.executable, "-m", "playground", "run", "flows/agent.py", "--input", '{"query": "what"}']
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        trace_id = until(lambda: with_calls(project, 2))
        [pid] = until(lambda: lines(project / "pid"))
        os.kill(int(pid), signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode not in (0, None)
    assert lines(project / "fetched") == ["corpus://first", "corpus://right"]
    assert (lines(project / "asked"), lines(project / "answered")) == (["asked"], ["first"])
    (project / "hang").unlink()

    resumed = pf("resume", trace_id, "--json")

    assert resumed.returncode == 0, resumed.stderr
    # What was under way is done again; nobody is asked again for what was decided or said before.
    assert lines(project / "fetched") == ["corpus://first", "corpus://right", "corpus://right"]
    assert (lines(project / "asked"), lines(project / "answered")) == (["asked"], ["first", "answered"])
    assert "in corpus://right" in resumed.stdout

    events = traces(project)[trace_id]
    # The run is in the log twice: until the process was killed, and from its beginning to its end.
    edits = [event.data for event in events if event.kind == "edit"]
    assert [edit["before"]["value"]["args"] for edit in edits] == [{"url": "corpus://wrong"}] * 2
    assert [edit["after"]["value"]["args"] for edit in edits] == [{"url": "corpus://right"}] * 2
    decisions = [event.data["args"]["value"] for event in events if event.kind == "planner.decision"]
    assert {"url": "corpus://wrong"} in decisions

    replayed = pf("replay", trace_id, "--json")
    assert replayed.returncode == 0, replayed.stderr + replayed.stdout
    assert lines(project / "answered") == ["first", "answered"]
    assert len(lines(project / "fetched")) == 3


def test_a_fork_with_other_arguments_of_a_decision(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("agent", AGENT)
    first = pf("run", "flows/agent.py", "--input", '{"query": "what"}', "--json")
    assert first.returncode == 0, first.stderr
    [(trace_id, events)] = traces(project).items()
    decision = next(event for event in events if event.kind == "planner.decision")

    forked = pf("fork", trace_id, "--at", str(decision.seq), "--set", "/args/url=corpus://other", "--json")

    assert forked.returncode == 0, forked.stderr
    assert "corpus://other" in lines(project / "fetched")
    assert lines(project / "answered").count("first") == 1
    refused = pf("fork", trace_id, "--at", str(decision.seq), "--set", "/args/no/such=1", "--json")
    assert refused.returncode == 2
    assert "has no /args/no/such" in refused.stderr
