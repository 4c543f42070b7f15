"""Runs that stop: decided upon at a terminal, or by a program that reads and writes lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from benchmarks.terminal import PF, Terminal
from playground.breakpoints import BreakpointStore
from playground.cli.outputs import RunOutput
from playground.cli.stop_lines import StopLine

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

CHAIN = """
    from __future__ import annotations

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create


    class Text(BaseModel):
        text: str


    async def greet(text: Text, ctx) -> Text:
        if text.text == "boom":
            raise ValueError("no greeting for that")
        return Text(text=f"hello {text.text}")


    async def shout(text: Text, ctx) -> Text:
        print("shouting", flush=True)
        return Text(text=text.text.upper())


    second = Node(shout, name="shout")
    flow = create(Node(greet, name="greet").to(second), second.to())
    registry = ModelRegistry()
    registry.register("greet", Text, Text)
    registry.register("shout", Text, Text)
"""
LIMIT_S = 300.0
INPUT = '{"text": "ada"}'


@pytest.fixture
def chain(add_flow: AddFlow) -> str:
    return add_flow("chain", CHAIN)


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The lines of a run that was decided upon; each fits its schema."""
    *stops, last = done.stdout.splitlines()
    for line in stops:
        TypeAdapter(StopLine).validate_json(line)
    TypeAdapter(RunOutput).validate_json(last)
    return [json.loads(line) for line in (*stops, last)]


def told(lines: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What the lines are, without what they hold."""
    short = []
    for line in lines:
        kind = line.get("type", "run")
        more = {"stopped": ("kind", "name"), "resumed": ("action",), "run": ("status",)}.get(kind, ())
        short.append((kind, *(line[name] for name in more)))
    return short


def say(*decisions: Any) -> str:
    return "".join(f"{json.dumps(decision)}\n" for decision in decisions)


# -- lines -------------------------------------------------------------------------------------------------------------


def test_a_program_steps_and_edits(pf: RunCommand, chain: str) -> None:
    decisions = say({"then": "over"}, {"action": "edit", "edits": {"/text": "hello eve"}})
    done = pf("run", chain, "--input", INPUT, "--break", "node:greet", "--json", input=decisions)
    assert done.returncode == 0, done.stderr
    lines = lines_of(done)
    assert told(lines) == [
        ("stopped", "before_node", "greet"),
        ("resumed", "proceed"),
        ("stopped", "after_node", "greet"),
        ("resumed", "edit"),
        ("run", "ok"),
    ]
    assert lines[0]["payload"] == {"text": "ada"}
    assert lines[0]["breakpoint"] == "node:greet"
    assert lines[2]["payload"] == {"text": "hello ada"}
    assert lines[-1]["output"] == {"text": "HELLO EVE"}
    assert "shouting" in done.stderr


def test_what_is_no_decision_is_refused_and_the_run_waits(pf: RunCommand, chain: str) -> None:
    decisions = "nonsense\n\n" + say(
        {"action": "fly"},
        {"stop": "stop-9"},
        {"to": "tol:x"},
        {"action": "edit", "value": {"text": 1}},
        {"action": "skip", "value": {"text": "skipped"}},
    )
    done = pf("run", chain, "--input", INPUT, "--break", "node:greet", "--json", input=decisions)
    lines = lines_of(done)
    assert [line[0] for line in told(lines)] == ["stopped", *["refused"] * 5, "resumed", "run"]
    reasons = [line["message"] for line in lines if line.get("type") == "refused"]
    assert "no decision" in reasons[0]
    assert lines[2]["details"][0]["path"] == "/action"
    assert "stop-9" in reasons[2]
    assert "'tol:x' is no place" in reasons[3]
    assert lines[5]["details"][0]["path"] == "/text"
    assert lines[-1]["output"] == {"text": "SKIPPED"}


def test_a_closed_stdin_means_continue(pf: RunCommand, chain: str) -> None:
    done = pf("run", chain, "--input", INPUT, "--break", "any", "--json")
    assert done.returncode == 0, done.stderr
    lines = lines_of(done)
    assert [line[0] for line in told(lines)].count("stopped") == 4
    assert lines[-1]["output"] == {"text": "HELLO ADA"}


def test_an_abort_is_a_cancelled_run(pf: RunCommand, chain: str) -> None:
    aborted = say({"action": "abort", "value": "seen enough"})
    done = pf("run", chain, "--input", INPUT, "--stop-first", "--json", input=aborted)
    assert done.returncode == 1
    assert "the run was aborted at before_node of 'greet': seen enough" in done.stderr
    assert lines_of(done)[-1]["status"] == "cancelled"


def test_run_to_a_place_under_a_condition(pf: RunCommand, chain: str) -> None:
    decisions = say({"to": 'node:shout if text == "hello ada"'}, {})
    done = pf("run", chain, "--input", INPUT, "--stop-first", "--json", input=decisions)
    stops = [line["name"] for line in lines_of(done) if line.get("type") == "stopped"]
    assert stops == ["greet", "shout"]


def test_a_condition_holds(pf: RunCommand, chain: str) -> None:
    for condition, stops in (('text == "ada"', 1), ('text == "eve"', 0)):
        done = pf("run", chain, "--input", INPUT, "--break", "node:greet", "--if", condition, "--json")
        assert [line[0] for line in told(lines_of(done))].count("stopped") == stops


def test_an_error_is_stopped_at_and_tried_again(pf: RunCommand, chain: str) -> None:
    decisions = say({"action": "edit", "value": {"text": "bob"}}, {})
    done = pf("run", chain, "--input", '{"text": "boom"}', "--break", "error", "--json", input=decisions)
    assert done.returncode == 0, done.stderr
    lines = lines_of(done)
    assert lines[0]["payload"]["error"]["message"] == "no greeting for that"
    assert lines[-1]["output"] == {"text": "HELLO BOB"}


def test_the_projects_breakpoints_hold_when_they_are_asked_for(pf: RunCommand, chain: str, project: Path) -> None:
    assert pf("break", "add", "node:greet").returncode == 0
    assert pf("break", "add", "node:shout", "--once").returncode == 0
    assert told(lines_of(pf("run", chain, "--input", INPUT, "--json", "--break", "error"))) == [("run", "ok")]
    store = BreakpointStore(project / ".penguiflow")
    assert [each.hits for each in store.load()] == [0, 0]

    for stops in (["greet", "shout"], ["greet"]):
        done = pf("run", chain, "--input", INPUT, "--json", "--breakpoints")
        assert [line["name"] for line in lines_of(done) if line.get("type") == "stopped"] == stops
    greet, shout = store.load()
    assert (greet.hits, greet.enabled) == (2, True)
    assert (shout.hits, shout.enabled) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--break", "node:greet"], "there is no terminal"),
        (["--stop-first"], "with --json it writes each stop as a line"),
        (["--break", "nod:greet", "--json"], "did you mean node?"),
        (["--break", "any if x = 1", "--json"], "column 3"),
        (["--if", "x", "--json"], "--if needs a --break"),
        (["--break", "any", "--break", "error", "--if", "x", "--json"], "--if belongs to one --break"),
        (["--break", "any", "--json", "--input", "-"], "stdin gives the input"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    pf: RunCommand, chain: str, arguments: list[str], said: str, project: Path
) -> None:
    done = pf("run", chain, *(arguments if "--input" in arguments else ["--input", INPUT, *arguments]))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (project / ".penguiflow").exists()


def test_what_is_around_a_stop_is_shown_and_changed(pf: RunCommand, chain: str) -> None:
    asked = say({"type": "context.get", "stop": "stop-1"}, {"type": "context.get", "stop": "other"}, {"type": "fly"})
    looked = lines_of(pf("run", chain, "--input", INPUT, "--stop-first", "--json", input=asked))
    assert [line[0] for line in told(looked)] == ["stopped", "context", "refused", "refused", "resumed", "run"]
    parts = {part["name"]: part for part in looked[1]["parts"]}
    edit = {"type": "context.edit", "stop": "stop-1", "part": "meta", "value": {"seen": True}}
    asked = say({**edit, "version": parts["meta"]["version"]}, {**edit, "version": "another"}, {})
    changed = lines_of(pf("run", chain, "--input", INPUT, "--stop-first", "--json", input=asked))
    (context,) = [line for line in changed if line.get("type") == "context"]
    assert {part["name"]: part["value"] for part in context["parts"]}["meta"] == {"seen": True}
    assert [line["stop"] for line in changed if line.get("type") == "refused"] == ["stop-1"]
    assert changed[-1]["output"] == {"text": "HELLO ADA"}


ASKING = """
    from __future__ import annotations

    from penguiflow import Node, create


    async def ask(value: dict, ctx) -> dict:
        answer = await ctx.ask("how many?", int)
        return {"answer": answer}


    flow = create(Node(ask, name="ask").to())
"""


def test_a_program_answers_what_a_run_asks(project: Path, add_flow: AddFlow) -> None:
    command = [sys.executable, "-m", "playground", "run", add_flow("asking", ASKING), "-i", "{}", "--json"]
    with subprocess.Popen(
        [*command, "--break", "error"], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None
        (question,) = json.loads(asking.stdout.readline())["questions"]
        assert question["prompt"] == "how many?"
        for value in ("many", 7):
            asking.stdin.write(say({"type": "answer", "question": question["question"], "value": value}))
        asking.stdin.close()
        *_, last = asking.stdout.read().splitlines()
        assert json.loads(last)["output"] == {"answer": 7}
        assert asking.wait(LIMIT_S) == 0


def test_a_closed_stdin_answers_nothing(pf: RunCommand, add_flow: AddFlow) -> None:
    done = pf("run", add_flow("asking", ASKING), "-i", "{}", "--json", "--break", "tool:none")
    assert done.returncode == 1
    lines = lines_of(done)
    assert lines[0]["type"] == "questions"
    assert lines[-1]["status"] == "error"


AGENT = """
    from __future__ import annotations

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node
    from penguiflow.llm.scripted import ScriptedModel
    from penguiflow.planner import ReactPlanner


    class Page(BaseModel):
        url: str


    class Text(BaseModel):
        text: str


    async def fetch(args: Page, ctx) -> Text:
        return Text(text=f"in {args.url}")


    async def search(args: Page, ctx) -> Text:
        return Text(text=f"found {args.url}")


    def answer(request):
        said = [message.text for message in request.messages if message.role == "user"][-1]
        return {"next_node": "final_response", "args": {"answer": said}}


    registry = ModelRegistry()
    registry.register("fetch", Page, Text)
    registry.register("search", Page, Text)
    planner = ReactPlanner(
        ScriptedModel(rules=[(lambda _: True, [{"next_node": "fetch", "args": {"url": "a"}}, answer])]),
        nodes=[Node(fetch, name="fetch"), Node(search, name="search")],
        registry=registry,
    )
"""


def test_a_planners_decision_is_replaced_and_tells_why_it_was_made(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("agent", AGENT)
    another = {"action": "edit", "edits": {"/next_node": "search", "/args/url": "b"}, "to": "tool:search"}
    done = pf(
        *("run", target, "-i", '{"query": "what is in a?"}', "--json", "--break"),
        'after_decision if next_node == "fetch"',
        input=say({**another, "edits": {"/args": 7}}, another, {"action": "edit", "edits": {"/args/url": "c"}}),
    )
    assert done.returncode == 0, done.stderr
    first, refused, *_ = lines = lines_of(done)
    assert first["why"]["decision"]["next_node"] == "fetch"
    assert "what is in a?" in json.dumps(first["why"]["messages"])
    assert refused["type"] == "refused"
    assert [line["name"] for line in lines if line.get("type") == "stopped"][1] == "search"
    assert "found c" in lines[-1]["output"]["payload"]["raw_answer"]


def test_something_is_put_in_where_a_run_waits(pf: RunCommand, add_flow: AddFlow, chain: str) -> None:
    """Of a planner: into its next prompt. Of a node: a message from it, beside what it gives itself."""
    done = pf(
        *("run", add_flow("agent", AGENT), "-i", '{"query": "what is in a?"}', "--json", "--trace-id", "told"),
        *("--break", "tool:fetch"),
        input=say({"action": "inject", "value": "mind the krill"}),
    )
    assert done.returncode == 0, done.stderr
    assert "inject" in lines_of(done)[0]["actions"]
    calls = json.loads(pf("inspect", "told", "--llm", "all", "--json").stdout)["calls"]
    assert ["mind the krill" in json.dumps(call) for call in calls] == [False, True]
    put = {"action": "inject", "value": {"text": "eve"}}
    done = pf("run", chain, "--input", INPUT, "--json", "--trace-id", "put", "--break", "node:greet", input=say(put))
    assert done.returncode == 0, done.stderr
    events = json.loads(pf("inspect", "put", "--json").stdout)["events"]
    sent = [each for each in events if each["kind"] == "message.enqueued" and each["data"]["target"] == "Rookery"]
    assert sorted(each["data"]["payload"]["value"]["text"] for each in sent) == ["EVE", "HELLO ADA"]


def test_a_planner_is_steered_where_it_waits(pf: RunCommand, add_flow: AddFlow) -> None:
    steer = {"type": "steer", "trace_id": "steered", "event": "USER_MESSAGE", "payload": {"text": "mind the krill"}}
    done = pf(
        *("run", add_flow("agent", AGENT), "-i", '{"query": "what is in a?"}', "--json", "--trace-id", "steered"),
        *("--break", "tool:fetch"),
        input=say({**steer, "payload": {}}, steer, {"then": "continue"}),
    )
    assert done.returncode == 0, done.stderr
    assert [line["type"] for line in lines_of(done)[:3]] == ["stopped", "refused", "accepted"]
    calls = json.loads(pf("inspect", "steered", "--llm", "all", "--json").stdout)["calls"]
    assert ["mind the krill" in json.dumps(call) for call in calls] == [False, True]


# -- a terminal --------------------------------------------------------------------------------------------------------


class Stopping(Terminal):
    """`pf run` at a terminal."""

    def answer(self, keys: str, *needles: str) -> None:
        """Type, and wait for what is written after it."""
        start = len(self.output)
        self.press(keys.encode())
        self.until(*needles, start=start)


@pytest.fixture
def at_terminal(project: Path, chain: str) -> Iterator[Any]:
    opened: list[Stopping] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Stopping:
        opened.append(Stopping([str(PF), "run", chain, "--input", INPUT, *arguments], cwd=project, env=env))
        return opened[-1]

    yield start
    for each in opened:
        each.__exit__()


def test_somebody_steps_at_a_terminal(at_terminal: Any) -> None:
    terminal = at_terminal("--break", "node:greet")
    terminal.until("stopped before node greet", '"text": "ada"', "? help", "(greet) ")
    terminal.answer("?\n", "run to a place", "(greet) ")
    terminal.answer("p text\n", "ada", "(greet) ")
    terminal.answer("fly\n", "fly is not known here", "(greet) ")
    terminal.answer("p nothing\n", "there is nothing at /nothing", "(greet) ")
    terminal.answer("t nod:x\n", "did you mean node?", "(greet) ")
    terminal.answer("s\n", "stopped after node greet", "hello ada", "(greet) ")
    terminal.answer("\n", "stopped before node shout", "(shout) ")
    terminal.answer("c\n", "HELLO ADA", "ok in")
    assert terminal.wait(60.0) == 0
    # What was printed while somebody was asked comes afterwards, on lines of its own.
    assert re.search(r"^shouting\s*$", terminal.text(), re.MULTILINE)


def test_ctrl_c_at_a_stop_ends_the_run(at_terminal: Any, pf: RunCommand) -> None:
    terminal = at_terminal("--stop-first")
    terminal.until("(greet) ")
    terminal.press(b"\x03")
    assert terminal.wait(60.0) == 130
    assert "cancelling" in terminal.text()
    (trace,) = json.loads(pf("traces", "--json").stdout)["traces"]
    # A busy machine may need longer than the half second that a cancelled run has.
    assert trace["status"] in ("cancelled", "interrupted")


def test_ctrl_d_goes_on(at_terminal: Any) -> None:
    terminal = at_terminal("--stop-first")
    terminal.until("(greet) ")
    terminal.answer("\x04", "(continues)", "HELLO ADA")
    assert terminal.wait(60.0) == 0


def test_an_abort_at_a_terminal_tells_why(at_terminal: Any) -> None:
    terminal = at_terminal("--break", "node:shout")
    terminal.until("(shout) ")
    terminal.answer("x not today\n", "the run was aborted at before_node of 'shout': not today")
    assert terminal.wait(60.0) == 1


def test_a_deadline_ends_a_run_that_nobody_decides_upon(at_terminal: Any) -> None:
    terminal = at_terminal("--break", "node:greet", "--timeout", "2")
    # On a busy machine the time may be over before the run has come there.
    terminal.until("the flow timed out")
    assert terminal.wait(60.0) == 1


def test_a_breakpoint_that_stopped_nothing_is_named(at_terminal: Any) -> None:
    terminal = at_terminal("--break", "tool:fetch")
    assert terminal.wait(60.0) == 0
    assert "the run did not come to tool:fetch" in terminal.text()


def edits_with(project: Path, script: str) -> dict[str, str]:
    """An environment in which `$EDITOR` does this to the file."""
    program = project / "editor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"EDITOR": str(program), "VISUAL": ""}


def test_somebody_edits_at_a_terminal(at_terminal: Any, project: Path) -> None:
    terminal = at_terminal("--break", "node:shout", env=edits_with(project, """sed -i 's/ada/eve/' "$1" """))
    terminal.until("hello ada", "(shout) ")
    terminal.answer("e text=7\n", '"text": 7', "edited:", "(shout) ")
    terminal.answer("c\n", "/text: Input should be a valid string", "(shout) ")
    terminal.answer("u\n", "forgotten", "(shout) ")
    terminal.answer("e nothing.x=7\n", "there is nothing around /nothing/x", "(shout) ")
    terminal.answer("e\n", '"text": "hello eve"', "edited:", "(shout) ")
    terminal.answer("p text\n", "hello eve", "(shout) ")
    terminal.answer("c\n", "HELLO EVE", "ok in")
    assert terminal.wait(60.0) == 0


def test_an_editor_that_fails_or_leaves_no_json_changes_nothing(at_terminal: Any, project: Path) -> None:
    # The second time it is given what was left the first time.
    script = 'if grep -q broken "$1"; then echo \'{"text": "mended"}\' > "$1"; else echo "{broken" > "$1"; fi'
    terminal = at_terminal("--break", "node:shout", env=edits_with(project, script))
    terminal.until("(shout) ")
    terminal.answer("e\n", "that is no JSON: line 1, column 2", "(shout) ")
    terminal.answer("e\n", '"text": "mended"', "edited:", "(shout) ")
    edits_with(project, "exit 4")
    terminal.answer("e\n", "ended with exit code 4; nothing was changed", "(shout) ")
    terminal.answer("c\n", "MENDED")
    assert terminal.wait(60.0) == 0


def test_somebody_skips_at_a_terminal(at_terminal: Any) -> None:
    terminal = at_terminal("--break", "node:shout")
    terminal.until("(shout) ")
    terminal.answer('k {"text": 1}\n', "Input should be a valid string", "(shout) ")
    terminal.answer('k {"text": "nothing to shout"}\n', "nothing to shout", "ok in")
    assert terminal.wait(60.0) == 0


def test_meta_is_edited_at_a_terminal(at_terminal: Any) -> None:
    terminal = at_terminal("--stop-first")
    terminal.until("(greet) ")
    terminal.answer("p context\n", "── meta", "(greet) ")
    terminal.answer("E meta seen=true\n", '"seen": true', "(greet) ")
    terminal.answer("E nothing\n", "there is no part 'nothing' here", "(greet) ")
    terminal.answer("M\n", "the run has no memory", "(greet) ")
    terminal.answer("c\n", "HELLO ADA")
    assert terminal.wait(60.0) == 0


def test_why_a_planner_stops_is_shown(add_flow: AddFlow, project: Path) -> None:
    target = add_flow("agent", AGENT)
    command = [str(PF), "run", target, "-i", '{"query": "what is in a?"}', "--break", "tool:fetch"]
    terminal = Stopping(command, cwd=project)
    with terminal:
        terminal.until("stopped before tool fetch", "step 0", "prompt, user:", "what is in a?", "decision:", "(fetch) ")
        terminal.answer("p why\n", "── prompt, system", "── reply", "── decision", '"next_node": "fetch"', "(fetch) ")
        terminal.answer("e url=z\n", '"url": "z"', "edited:", "(fetch) ")
        terminal.answer("o\n", "in z", "(fetch) ")
        terminal.answer("c\n", "in z", "ok in")
        assert terminal.wait(60.0) == 0
