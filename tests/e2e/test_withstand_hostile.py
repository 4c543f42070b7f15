"""Words that speak to the terminal, wherever they come from: each is shown, and none is passed on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.hands import BACKSPACE, DOWN, END, ENTER, ESCAPE, F1, HOME, RIGHT, TAB, UP, ctrl
from penguiflow.observer import Payload
from penguiflow.state.sqlite import SQLiteStateStore
from playground.breakpoints import Breakpoint, BreakpointStore

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, Steady

TELLING = (
    "a\x1b]0;pwned\x07b\x1b[2Jc\x1b[6nd\x00e\x08f\x9b31mg\x1bch\x1bP1$r\x1b\\i\u202ej\x0ek\rl\x7fm\x1b]52;c;cHdu\x07"
    "\x85\u2028\u2066n\u2069\u200fo\u200bp\ufeffq\u061cr\U000e0041\u200d\ufe0f"
)
"""Sets the title, clears, asks for the cursor, resets, turns the writing around, takes the clipboard, hides itself."""
EVIL = TELLING + "\ud800"
"""With half a character, which no store of values and no file name takes."""
SHOWN = "a␛]0;pwned"
"""How it begins where it is shown."""
NAMED = "pl\x1b]0;pwned\x07an\u202es.py"
BROKEN = "br\udcff\x1b[2Jk.py"
"""Of bytes that are no text."""

PLANS = f"""
from __future__ import annotations

import json

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.planner import ReactPlanner
from penguiflow.planner.memory import ShortTermMemoryConfig

EVIL = {EVIL!a}
TELLING = {TELLING!a}


class Text(BaseModel):
    text: str


async def visit(args: Text, ctx) -> Text:
    await ctx.kv.get_or_init("key" + TELLING, {{TELLING: TELLING}}, namespace="ns" + TELLING)
    if "ask" in args.text:
        return Text(text=str(await ctx.ask("really? " + EVIL, bool)))
    if "fail" in args.text:
        raise type("No" + TELLING.replace("\\0", ""), (ValueError,), {{}})(EVIL)
    return Text(text=TELLING)


def call(text):
    decision = {{"next_node": "visit", "args": {{"text": text}}, "thought": EVIL}}
    return ScriptedReply(text=json.dumps(decision), reasoning=EVIL)


DONE = {{"next_node": "final_response", "args": {{"answer": "done " + EVIL}}}}
registry = ModelRegistry()
registry.register("visit", Text, Text)
planner = ReactPlanner(
    ScriptedModel(
        rules=[
            (lambda request: "please fail" in str(request), [call("fail " + TELLING), DONE]),
            (lambda request: "please ask" in str(request), [call("ask " + TELLING), DONE]),
            (lambda request: True, [call(TELLING), DONE]),
        ]
    ),
    name="plan " + TELLING,
    nodes=[Node(visit)],
    registry=registry,
    system_prompt_extra=EVIL,
    short_term_memory=ShortTermMemoryConfig(strategy="truncation"),
)
WHO = {{"tenant_id": "t" + TELLING, "user_id": "u" + TELLING, "session_id": "s" + TELLING}}
__flow__ = {{
    "title": "Plans " + TELLING,
    "samples": [{{"query": "visit " + EVIL, "tool_context": WHO}}],
    "defaults": {{"tool_context": WHO, "session": "key " + TELLING}},
}}
"""
NODES = f"""
from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, NodePolicy, create

TELLING = {TELLING!a}


class Order(BaseModel):
    do: str = "well"
    more: dict[str, Any] = {{}}
    note: str = ""


async def act(order: Order, ctx):
    return order


async def last(order: Order, ctx):
    return order


__flow__ = {{
    "title": "Nodes " + TELLING,
    "samples": [{{"do": TELLING, "more": {{TELLING: TELLING}}, "note": TELLING + "\\n" + TELLING}}],
    "defaults": {{"headers": {{"tenant": TELLING}}, "meta": {{TELLING: TELLING}}, "session": TELLING}},
}}
policy = NodePolicy(validate="none")
one, two = Node(act, name="act " + TELLING, policy=policy), Node(last, policy=policy)
flow = create(one.to(two), two.to())
registry = ModelRegistry()
registry.register("act " + TELLING, Order, Order)
registry.register("last", Order, Order)
"""


@pytest.fixture
def project(project: Path) -> Path:
    (project / NAMED).write_text(PLANS)
    (project / BROKEN).write_text("def (")
    (project / "nodes.py").write_text(NODES)
    return project


async def record(path: Path, trace_id: str) -> None:
    """A run as somebody else's program may have recorded it: nobody has looked at its names."""
    store = SQLiteStateStore(path)
    about = {"target": f"{TELLING}.py", "session": EVIL, "version": EVIL, "origin": {"mode": EVIL}}
    log = store.recorder(name=EVIL, data=about).open(trace_id)
    span = log.start("node", EVIL, log.root, {EVIL: EVIL})
    log.event("message.enqueued", EVIL, span, {"message_id": EVIL, "payload": Payload({EVIL: EVIL}), "source": EVIL})
    log.event("stream.chunk", EVIL, span, {"stream_id": EVIL, "chunk_seq": 0, "text": EVIL, "meta": {"channel": EVIL}})
    log.event("llm.request", EVIL, span, {"model": EVIL, "messages": [{"role": EVIL, "content": EVIL}]})
    log.event(EVIL, EVIL, span, {EVIL: [EVIL]})
    log.end("node", EVIL, span, log.root, "error", {"error": {"code": EVIL, "message": EVIL, "type": EVIL}})
    log.close("error", {"error": {"code": EVIL, "message": EVIL, "node_name": EVIL}})
    await store.close()


def run_once(terminal: Steady) -> None:
    """A run of the first flow, with what is given as its sample."""
    terminal.shown(b"1gr", "✔ ", "0 running", "1 · following")


def leaves(terminal: Steady, needle: str) -> None:
    """Escape takes a screen away; what follows it at once would be another key."""
    terminal.press(ESCAPE)
    terminal.wait_for(lambda: needle not in terminal.screen(), f"{needle} does not go away")


def test_names_of_files_conditions_and_what_stands_in_a_form(project: Path, opened: Opened) -> None:
    places = [
        Breakpoint(id="1", on="node", name="act " + TELLING, condition='do == "\x1b]0;pwned\x07\u2066"', enabled=False),
        Breakpoint(id="2", on="node", name="last", condition='note == "\x1b[2J\u202e\x07"', enabled=False),
        Breakpoint(id="3", on="any", target=NAMED, enabled=False),
    ]
    BreakpointStore(project / ".penguiflow").change(places)
    with opened("nodes.py", NAMED, BROKEN, size=(150, 44)) as terminal:
        terminal.until_shown("nodes", "ready", "1 broken", "✖ br", "pl␛]0;pwned␇an")
        # The fields have what the sample has, and more of them what runs have by default.
        terminal.shown(b"1g\r", "headers and more", "\ufffd]0;pwned")
        terminal.shown(ctrl("o"), "deadline_s", "tenant")
        terminal.press(TAB * 2 + END + BACKSPACE + b"!")
        terminal.shown(ctrl("r"), "✔ ", "0 running", "1 · following")
        terminal.shown(b"1gjj", "INSPECT ✖ br")
        terminal.shown(b"5]]", "[Breakpoints]", "note == ", "␛[2J")
        terminal.shown(b"e", "Change a breakpoint")
        terminal.press(TAB + END + BACKSPACE)
        leaves(terminal, "Change a breakpoint")
        terminal.visit()
        terminal.visit_screens(breakpoints=False)
        terminal.leave()


def test_what_a_model_is_asked_and_says(opened: Opened) -> None:
    with opened(NAMED, size=(150, 44)) as terminal:
        terminal.until_shown("pl␛]0;pwned", "ready", "sample 1")
        run_once(terminal)
        terminal.shown(b"3gjjjL", "[LLM]", "decision · visit", "thought")
        for keys in (b"*", b"G", b"J", b"g", b"y", b")", b"*", b"J", b"("):
            terminal.press(keys)
        terminal.answers()
        # Who it was for, what is remembered of it, and what its tools have kept.
        terminal.shown(b"5]]]", "[Context]", f"t{SHOWN}")
        terminal.press(b"*G")
        terminal.visit()
        terminal.visit_screens()
        terminal.leave()


def test_a_conversation_and_a_question(opened: Opened) -> None:
    with opened(NAMED, size=(150, 44)) as terminal:
        terminal.until_shown("pl␛]0;pwned", "ready", "sample 1")
        run_once(terminal)
        terminal.shown(b"3w", "─ CHAT", "SESSIONS", "say something", "done ")
        # What was said comes back into the line.
        terminal.press(UP)
        terminal.opens(F1, "CONVERSATION · keys")
        terminal.shown(ctrl("e") + ctrl("u") + b"please ask\r", "⏸ asks", f"really? {SHOWN}", "answer: yes or no")
        terminal.shown(b"yes\r", "answered: yes", f"  {SHOWN}")
        terminal.shown(b"please fail\r", "✖ visit", "3 turns")
        leaves(terminal, "─ CHAT")
        terminal.visit()
        terminal.leave()


def test_a_stop_its_editors_and_what_was_edited(opened: Opened) -> None:
    with opened(NAMED, size=(150, 44)) as terminal:
        terminal.until_shown("pl␛]0;pwned", "ready", "sample 1")
        terminal.shown(b"S", "⏸ 1 stopped", "stopped   ⏸ before node plan ")
        # Escaped in the editor, where each of them would end a line: what is there fits, and goes back as it was.
        terminal.shown(b"e", "edit before node plan ", "fits the schema · unchanged", "\\u202e")
        terminal.shown(DOWN + HOME + RIGHT * 12 + b"!", "· changed")
        terminal.shown(ctrl("d"), '+   "query"')
        terminal.shown(ctrl("d") + ctrl("s"), "✎ edited")
        terminal.visit()
        terminal.shown(b"o", "⏸ ")
        terminal.shown(b"4g", "stopped   ⏸ ")
        terminal.press(b"*GJ")
        terminal.answers()
        terminal.shown(b"c", "0 running")
        terminal.visit()
        terminal.leave()


def test_moments_and_differences(opened: Opened) -> None:
    with opened(NAMED, size=(150, 44)) as terminal:
        terminal.until_shown("pl␛]0;pwned", "ready", "sample 1")
        run_once(terminal)
        terminal.shown(b"3,", "TIMELINE", "trace.end")
        for keys in (b"0", b"n", b"n", b"c", b"e", b"$", b"C", b"h", b"h"):
            terminal.press(keys)
        terminal.answers("TIMELINE · keys")
        leaves(terminal, "TIMELINE")
        terminal.shown(b"3gf", "fork", "ctrl+s applies", "\\u202e")
        terminal.shown(DOWN * 2 + HOME + RIGHT * 15 + b"other", "· changed")
        # The cursor may have gone along with the run, to its newest part.
        terminal.shown(ctrl("s"), "↳", "0 running", "✔ ")
        terminal.shown(b"3g", "a fork of")
        terminal.shown(b"2gdjd", "◆ diff", "DIFFERENCES", "Side by side")
        for keys in (b"n", b"n", b"a", b"]", b"[", TAB, b"G", b"y"):
            terminal.press(keys)
        terminal.answers()
        leaves(terminal, "◆ diff")
        terminal.shown(b"3gp", "REPLAY")
        leaves(terminal, "REPLAY")
        terminal.opens(b"Y", "COPY")
        terminal.shown(ctrl("t"), "━━ TOUR ")
        terminal.leave()


def test_a_run_that_is_told_of_and_what_an_export_is_called(project: Path, opened: Opened) -> None:
    """Notices carry names and errors of somebody else."""
    (project / "notice.json").write_text(json.dumps({"x": EVIL}))
    with opened("nodes.py", NAMED, size=(150, 44)) as terminal:
        terminal.until_shown("nodes", "ready")
        run_once(terminal)
        terminal.shown(b"1gI", "take in the run of this file")
        terminal.shown(b"notice.json\r", "IMPORT notice.json")
        leaves(terminal, "IMPORT notice.json")
        terminal.shown(b"1gj", "INSPECT pl")
        first = terminal.run_shown[0]
        terminal.press(b"r")
        terminal.wait_for(lambda: terminal.run_shown[0] not in {"", first}, "no second run")
        terminal.ends("✔")
        terminal.shown(b"3E", "write the run to this file")
        terminal.shown(ENTER, "secrets masked")
        terminal.visit()
        terminal.leave()


def test_runs_of_sessions_and_ids_that_nobody_has_looked_at(project: Path, opened: Opened) -> None:
    database = project / ".penguiflow" / "state.db"
    asyncio.run(record(database, TELLING))
    asyncio.run(record(database, "\x1b[2J" + TELLING))
    with opened("nodes.py", size=(150, 44)) as terminal:
        terminal.until_shown("nodes", "ready", "✖ a␛]0;p")
        terminal.shown(b"2g\r", "TRACE ␛[2Ja␛")
        terminal.shown(b"3gj\r*", "INSPECT", SHOWN)
        terminal.visit()
        terminal.shown(b"3,", "TIMELINE")
        terminal.press(b"0nne")
        leaves(terminal, "TIMELINE")
        terminal.shown(b"2gdjd", "◆ diff")
        leaves(terminal, "◆ diff")
        terminal.shown(b"3w", "─ CHAT", "SESSIONS")
        leaves(terminal, "─ CHAT")
        terminal.shown(b":", "Search for")
        terminal.shown(b"go: run", "go: run ␛[2J")
        leaves(terminal, "🔎")
        terminal.shown(b"3E", "write the run to this file")
        terminal.shown(ENTER, "secrets masked")
        terminal.visit_screens(breakpoints=False)
        terminal.leave()
