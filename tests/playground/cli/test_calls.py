"""`pf inspect --llm`: a call of a model, whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from penguiflow.observer import Payload
from penguiflow.state.sqlite import SQLiteStateStore
from playground.__main__ import main
from playground.cli.calls import CallsOutput


def pf(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
async def calls(project: Path) -> None:
    """A trace with a call that was repaired, one that was decided upon, and one that its process left open."""
    store = SQLiteStateStore(project / ".penguiflow" / "state.db")
    log = store.recorder(name="agent").open("t1", {"flow": "agent"})
    step = log.start("step", "step", log.root, {"ordinal": 0, "step": 4})

    def call(reply: Any, **more: Any) -> None:
        request = {"model": "gpt", "messages": [{"role": "user", "content": "hi\x1b[31m"}], "temperature": 0.5, **more}
        span = log.start("llm", "x/gpt", step, {"ordinal": 0, "request": Payload(request)})
        if reply is not None:
            usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
            told = {"response": Payload({"message": reply}), "usage": usage, "cost": 0.25, "latency_ms": 1500.0}
            log.end("llm", "x/gpt", span, step, "ok", told)

    call({"role": "assistant", "content": "not json"}, purpose="decision")
    log.event("planner.repair", "x", step, {"purpose": "decision", "attempt": 1, "problem": "no JSON"})
    call({"role": "assistant", "content": '{"next_node": "fetch"}'}, purpose="repair", tools=[{"name": "fetch"}])
    decision = {"next_node": "fetch", "args": Payload({"url": "b"}), "thought": "", "source": "llm", "alternates": 0}
    log.event("planner.decision", "fetch", step, decision)
    call(None)
    await store.close()


@pytest.mark.usefixtures("calls")
def test_a_call_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = pf(capsys, "inspect", "t1", "--llm", "1")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "✔ ok  gpt  call 1 of 3"
    assert "decision  step 4  1.50 s  10 → 2 tokens  $0.25" in out
    assert "temperature 0.5" in out
    assert "── 1 user\nhi␛[31m\n── reply\nnot json\n── repair\nattempt 1 of decision: no JSON\n" in out

    out = pf(capsys, "inspect", "t1", "--llm", "2")[1]
    assert "── tools (1)" in out
    assert '── decision\n{\n  "next_node": "fetch"' in out
    assert pf(capsys, "inspect", "t1", "--llm", "last")[1].startswith("↯ interrupted  gpt  call 3 of 3")


@pytest.mark.usefixtures("calls")
def test_calls_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    told = TypeAdapter(CallsOutput).validate_json(pf(capsys, "inspect", "t1", "--llm", "all", "--json")[1])
    first, second, third = told.calls
    assert told.total == 3
    assert (first.reply, first.usage, first.cost, first.latency_ms) == (
        "not json",
        {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12},
        0.25,
        1500.0,
    )
    assert first.messages == [{"role": "user", "content": "hi\x1b[31m"}]
    assert (first.parameters, first.step, first.decisions) == ({"temperature": 0.5}, 4, [])
    assert first.repairs == [{"purpose": "decision", "attempt": 1, "problem": "no JSON"}]
    assert (second.decisions[0]["args"], second.tools) == ({"url": "b"}, [{"name": "fetch"}])
    assert (third.status, third.end_seq) == ("interrupted", 10)


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--llm", "4"], 3, "has 3 calls of models"),
        (["--llm", "0"], 3, "has 3 calls of models"),
        (["--llm", "two"], 2, "no number of a call"),
        (["--llm", "1", "--tree"], 2, "only --json goes with it"),
        (["--follow", "--mermaid"], 2, "only --events and --json go with it"),
    ],
)
def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    found = pf(capsys, "inspect", "t1", *arguments)
    assert found[:2] == (code, "")
    assert said in found[2]


def test_a_trace_without_models_says_so(write_trace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(write_trace("plain"))
    assert pf(capsys, "inspect", "plain", "--llm", "all") == (0, "", "no calls of models\n")
    assert pf(capsys, "inspect", "plain", "--llm", "1")[0] == 3
