"""The commands as a shell sees them: real processes, real stores, real flows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from playground.cli.outputs import GraphOutput, InspectOutput, RunOutput, TracesOutput

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
AddFlow = Callable[..., str]

WAIT = """
    import asyncio

    from penguiflow import Node, create

    async def wait(message, ctx):
        await ctx.emit_chunk(parent=message, text="begun\\n", done=True)
        await asyncio.sleep(3600)

    flow = create(Node(wait, name="wait").to())
"""
FLAKY = """
    import asyncio

    from penguiflow import Node, NodePolicy, create

    async def answer(message, ctx):
        tries = ctx.trace_state["tries"] = ctx.trace_state.get("tries", 0) + 1
        if tries == 1 or message.payload == "never":
            raise ConnectionError("gone\\x1b[31m")
        await ctx.emit_chunk(parent=message, text="# two\\x07\\n", done=False)
        await ctx.emit_chunk(parent=message, text="parts", done=True)
        print("a word of the flow")
        await asyncio.sleep(0.3)
        return message.model_copy(update={"payload": message.payload.upper()})

    flow = create(Node(answer, name="answer", policy=NodePolicy(max_retries=2, backoff_base=0.01)).to())
"""


def parse(kind: Any, text: str) -> Any:
    """The output as its model; nothing may be left over or missing."""
    return TypeAdapter(kind).validate_json(text)


def test_run_prints_the_result_and_records_the_trace(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("greet")

    result = pf("run", target, "--input", '{"name": "Pip"}')
    assert (result.returncode, json.loads(result.stdout)) == (0, {"text": "hello Pip"})
    assert "✔ ok in" in result.stderr

    ran = parse(
        RunOutput, pf("run", target, "-i", "-", "--json", "-q", "--session", "s", input='{"name": "Ada"}').stdout
    )
    assert (ran.status, ran.output, ran.error) == ("ok", {"text": "hello Ada"}, None)
    assert len(ran.version) == 64

    listed = parse(TracesOutput, pf("traces", "--json").stdout).traces
    assert [(trace.status, trace.flow, trace.target) for trace in listed] == [("ok", "greet", target)] * 2
    assert listed[0].trace_id == ran.trace_id
    assert listed[0].session == "s"
    shown = parse(InspectOutput, pf("inspect", ran.trace_id[:8], "--json").stdout)
    assert shown.trace == listed[0]
    assert [event.seq for event in shown.events] == list(range(len(shown.events)))
    assert all(span.end_seq is not None and span.status == "ok" for span in shown.spans)
    assert {(span.kind, span.name) for span in shown.spans} >= {("node", "greet"), ("attempt", "greet")}

    table = pf("traces", "--text", "ADA").stdout.splitlines()
    assert len(table) == 2
    assert "Ada" in table[1]
    assert "\x1b" not in "".join(table)


def test_a_retry_a_stream_and_a_print_are_told_on_stderr(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("flaky", FLAKY)

    result = pf("run", target, "--input", '"hi"')

    assert (result.returncode, result.stdout) == (0, "HI\n")
    assert "↻ answer: attempt 2" in result.stderr
    assert "# two␇\nparts\n" in result.stderr
    assert "a word of the flow\n" in result.stderr
    assert "\x1b" not in result.stderr
    tree = pf("inspect", "last").stdout
    assert "ConnectionError: gone␛[31m  at flows/flaky.py:8" in tree
    assert "attempt 2" in tree
    events = pf("inspect", "last", "--events").stdout.splitlines()
    assert [int(line.split()[0]) for line in events] == list(range(len(events)))
    assert "    Note over answer: error: ConnectionError" in pf("inspect", "last", "--mermaid").stdout


def test_a_flow_that_fails(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("flaky", FLAKY)

    result = pf("run", target, "--input", '"never"', "--json")

    assert result.returncode == 1
    ran = parse(RunOutput, result.stdout)
    assert (ran.status, ran.output, ran.error["code"]) == ("error", None, "NODE_EXCEPTION")
    assert "pf: the flow failed in answer: ConnectionError" in result.stderr
    assert "flows/flaky.py:8 in answer" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_deadline(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("wait", WAIT)

    result = pf("run", target, "--input", "1", "--timeout", "0.2", "--json")

    assert result.returncode == 1
    assert parse(RunOutput, result.stdout).status in ("timeout", "error", "cancelled")


def test_a_host_that_dies(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow(
        "exits",
        """
        import os

        from penguiflow import Node, create

        async def leave(message: int, ctx):
            os._exit(message)

        flow = create(Node(leave, name="leave").to())
        """,
    )

    result = pf("run", target, "--input", "7", "--json")

    assert result.returncode == 6
    ran = parse(RunOutput, result.stdout)
    assert (ran.status, ran.error["code"]) == ("interrupted", "HOST_DIED")
    assert "7" in result.stderr
    shown = parse(InspectOutput, pf("inspect", "last", "--json").stdout)
    assert shown.trace.status == "interrupted"
    assert all(span.end_seq is not None for span in shown.spans)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_run(number: signal.Signals, pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    arguments = [sys.executable, "-m", "playground", "run", add_flow("wait", WAIT), "--input", "1", "--json"]
    with subprocess.Popen(
        arguments, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stderr is not None
        assert any(b"begun" in line for line in process.stderr)
        process.send_signal(number)
        out, _ = process.communicate(timeout=120)

    assert process.returncode == 130
    # A host that has no time to say that it was cancelled in is ended.
    ended = parse(RunOutput, out.decode()).status
    assert ended in ("cancelled", "interrupted")
    assert parse(TracesOutput, pf("traces", "--json").stdout).traces[0].status == ended


def test_graph(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("greet")

    drawn = pf("graph", target)
    assert "│ greet │" in drawn.stdout
    assert "greet  Person → Greeting" in drawn.stdout
    flow = parse(GraphOutput, pf("graph", target, "--json").stdout).flow
    assert flow.edges == [("OpenSea", "greet"), ("greet", "Rookery")]
    assert pf("graph", target, "--mermaid").stdout.startswith("graph TD\n")


def test_a_screenshot_needs_no_terminal(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    add_flow("greet")

    result = pf("tui", "--screenshot", "screen.svg", "--size", "80x24")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    picture = (project / "screen.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "greet" in picture


def test_a_reader_that_goes_away_is_no_error(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    assert pf("run", add_flow("greet"), "--input", '{"name": "Pip"}').returncode == 0
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "playground", "inspect", "last", "--events"],
            cwd=project,
            stdout=writing,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writing)

    assert (result.returncode, result.stderr) == (0, b"")


def test_help_costs_little() -> None:
    """Nothing is imported for it that takes its time."""
    heavy = ("asyncio", "penguiflow", "pydantic", "rich", "sqlite3", "textual", "watchfiles", "websockets")
    program = (
        "import sys; from playground.__main__ import main; code = main(['--help']);"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    # Measuring coverage imports modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )

    assert "inspect" in result.stdout
    assert result.stderr == "[]\n"
