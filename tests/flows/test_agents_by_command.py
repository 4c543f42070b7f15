"""The planners of this folder as `pf` runs them: each command in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from penguiflow.recording.frontier import stored
from penguiflow.state import SQLiteStateStore
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer

ROOT = Path(__file__).parents[2]
RESEARCH = "flows/research_agent.py"
SUPPORT = "flows/support_agent.py"
QUESTION = "What do emperor penguins eat?"
READER = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
HANG_S = 120.0


class Done(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


class Command(Protocol):
    """Runs `pf` in this project, with a state of its own, until it ends."""

    async def __call__(self, *arguments: str, **environment: str) -> Done: ...


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def pf(home: Path) -> Command:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PENGUIFLOW_", "OPENAI_"))}

    async def run(*arguments: str, **environment: str) -> Done:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "playground", *arguments),
            cwd=ROOT,
            env={**inherited, "PENGUIFLOW_HOME": str(home), "NO_COLOR": "1", **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(HANG_S):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            raise
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    return run


def asked(query: str, **more: Any) -> str:
    return json.dumps({"query": query, **more})


def answer(done: Done) -> str:
    assert done.code == 0, done.err
    result = done.data.get("output", done.data)
    assert result["reason"] == "answer_complete"
    return str(result["payload"]["raw_answer"])


async def test_run_inspect_replay_fork_and_compare(pf: Command, home: Path) -> None:
    first = answer(await pf("run", RESEARCH, "--trace-id", "first", "--input", asked(QUESTION)))
    assert "Emperor penguins eat fish, krill and squid." in first

    shown = await pf("inspect", "first", "--json")
    assert shown.code == 0, shown.err
    assert shown.data["trace"]["status"] == "ok"
    tree = (await pf("inspect", "first")).out
    for part in ("tool search", "branch fetch", "join compare", "llm scripted/scripted-researcher"):
        assert part in tree

    replayed = await pf("replay", "first")
    assert replayed.code == 0, replayed.err
    assert "11 calls answered from first" in replayed.err

    seq = await _step(home, "first", 1)
    assert answer(await pf("fork", "first", "--at", str(seq), "--json")) == first
    refused = await pf("fork", "first", "--at", str(seq), "--set", "/payload/next_node=skim")
    assert refused.code == 2
    assert "what the planner decided in this step is at /next_node, /args/" in refused.err
    other = await pf(*("fork", "first", "--at", "1", "--set", '/payload/query="Briefly: what are skuas?"'), "--json")
    assert answer(other).startswith("South polar skua: ")
    compared = await pf("diff", "first", other.data["trace_id"])
    assert "Briefly: what are skuas?" in compared.out


async def _step(home: Path, trace_id: str, number: int) -> int:
    """Where a step begins."""
    store = SQLiteStateStore(home / "state.db", read_only=True)
    try:
        steps = [event.seq async for event in stored(store, trace_id) if event.kind == "step.start"]
    finally:
        await store.close()
    return steps[number]


async def test_a_pause_is_gone_on_with_by_another_command(pf: Command) -> None:
    paused = await pf("run", RESEARCH, "--input", asked("Publish a report on krill"))
    assert paused.code == 0, paused.err
    assert paused.data["reason"] == "await_input"
    resume = {"resume": {"pause": paused.data["resume_token"], "user_input": "yes"}}
    assert "Published as REPORT-" in answer(await pf("run", RESEARCH, "--input", json.dumps(resume)))
    again = await pf("run", RESEARCH, "--input", json.dumps(resume))
    assert again.code != 0
    assert "was used already" in again.err


@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
async def test_what_is_paused_is_kept_where_the_traces_are(
    pf: Command, home: Path, tmp_path: Path, scheme: str
) -> None:
    store = f"{scheme}{tmp_path / 'other.db'}"
    paused = await pf("run", RESEARCH, "--store", store, "--input", asked("Publish a report on krill"))
    assert paused.code == 0, paused.err
    assert not (home / "state.db").exists()
    resume = json.dumps({"resume": {"pause": paused.data["resume_token"], "user_input": "yes"}})
    elsewhere = await pf("run", RESEARCH, "--input", resume)
    assert elsewhere.code != 0
    done = await pf("run", RESEARCH, "--input", resume, PENGUIFLOW_STORE=store)
    assert "Published as REPORT-" in answer(done)


async def test_a_large_refund_is_approved_by_another_command(pf: Command) -> None:
    query = "My tent A-101 is lost. Give me my money back! ada@example.org"
    paused = await pf("run", SUPPORT, "--input", asked(query))
    assert paused.data["reason"] == "approval_required"
    resume = {
        "resume": {"pause": paused.data["resume_token"], "user_input": "yes"},
        "tool_context": {"approved_by": "Kim"},
    }
    done = await pf("run", SUPPORT, "--input", json.dumps(resume))
    assert done.data["payload"]["structured"]["refund"] == 240.0
    replayed = await pf("replay", "last")
    assert replayed.code == 0, replayed.err
    assert replayed.data["payload"] == done.data["payload"]


async def test_a_conversation_goes_on_from_command_to_command(pf: Command) -> None:
    await pf("run", RESEARCH, "--input", asked("Briefly: what are krill?", tool_context=READER))
    done = await pf("run", RESEARCH, "--input", asked("What did I ask so far?", tool_context=READER))
    assert answer(done) == "You asked:\n- Briefly: what are krill?"
    [session] = (await pf("sessions", "--json")).data["sessions"]
    assert (session["session"], session["runs"], session["memory"]) == ("s", 2, "t:u:s")
    await pf("run", RESEARCH, "--session", "named", "--input", asked("Briefly: what are skuas?", tool_context=READER))
    listed = (await pf("sessions", "--json")).data["sessions"]
    assert {each["session"]: each["runs"] for each in listed} == {"named": 1, "s": 2}


async def test_a_model_that_the_environment_names(openai_server: ModelServer, pf: Command) -> None:
    openai_server.say(
        json.dumps({"next_node": "skim", "args": {"url": "corpus://birds/skua"}}),
        json.dumps({"next_node": "final_response", "args": {"answer": "From outside 🐧"}}),
        Said(calls=[("c1", "find_order", '{"order_id": "A-100"}')]),
        Said(
            calls=[
                (
                    "c2",
                    "final_response",
                    '{"structured": {"category": "order", "resolved": true, "reply": "A scarf"}, "answer": "A scarf"}',
                )
            ]
        ),
    )
    environment = {
        "PENGUIFLOW_FLOWS_MODEL": "openai/local-1",
        "PENGUIFLOW_FLOWS_MODEL_URL": openai_server.url,
        "OPENAI_API_KEY": "a-key-of-tests",
    }
    assert answer(await pf("run", RESEARCH, "--input", asked("Anything"), **environment)) == "From outside 🐧"
    done = await pf("run", SUPPORT, "--input", asked("Anything"), **environment)
    assert done.data["payload"]["structured"]["reply"] == "A scarf"
    assert [each.headers["authorization"] for each in openai_server.asked] == ["Bearer a-key-of-tests"] * 4


@pytest.mark.parametrize("target", [RESEARCH, SUPPORT])
async def test_to_look_at_them_leaves_nothing_behind(pf: Command, home: Path, target: str) -> None:
    done = await pf("graph", target, "--json")
    assert done.code == 0, done.err
    assert not (home / "state.db").exists()
