"""Data that is huge, wide, or speaks to the terminal: the dashboard shows all of it, and passes none of it on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, Steady

ESCAPE = b"\x1b"
EVIL = (
    "a\x1b]0;pwned\x07b\x1b[2Jc\x1b[6nd\x00e\x08f\x9b31mg\x1bch\x1bP1$r\x1b\\i\u202ej\x0ek\rl\x7fm\x1b]52;c;cHdu\x07"
    "\x85\u2028\ud800"
)
"""Sets the title, clears, asks for the cursor, resets, turns the writing around, takes the clipboard."""
TELLING = EVIL.replace("\ud800", "")
"""Without what no file name and no wire takes."""

ODD = f"""
from __future__ import annotations

import logging
import os
import warnings

from pydantic import BaseModel, Field

from penguiflow import Context, ModelRegistry, Node, NodePolicy, create

EVIL = {EVIL!a}
TELLING = {TELLING!a}


class Order(BaseModel):
    do: str = Field("well", description=TELLING, title="do" + TELLING)
    more: str = ""


async def act(order: Order, ctx: Context):
    match order.do:
        case "huge":
            return {{"text": "x" * 50_000_000}}
        case "lines":
            return {{"text": "x\\n" * 25_000_000}}
        case "wide":
            return {{f"key {{number}}": number for number in range(10_000)}}
        case "deep":
            deep = []
            for _ in range(900):
                deep = [deep]
            return deep
        case "odd":
            print(EVIL)
            os.write(1, EVIL.encode(errors="replace") + b"\\xff\\xfe\\n")
            logging.getLogger(EVIL).warning(EVIL)
            warnings.warn(EVIL)
            text = f"# {{EVIL}}\\n{{EVIL}}\\n```{{EVIL}}\\n{{EVIL}}\\n```\\n|a|\\n|-|\\n|{{EVIL}}|\\n- {{EVIL}}\\n"
            await ctx.emit_chunk(parent=ctx.message, text=text, meta={{"channel": EVIL}}, done=True)
            return {{EVIL: EVIL, "list": [EVIL, EVIL.encode(errors="replace")], "nan": float("nan")}}
        case "raise":
            raise type(TELLING.replace("\\0", ""), (ValueError,), {{}})(EVIL)
    return order


__flow__ = {{
    "title": "Odd " + TELLING,
    "samples": [{{"do": "well"}}, {{"do": "well", "more": TELLING}}],
    "defaults": {{"headers": {{"tenant": "t" + TELLING}}, "meta": {{"m" + TELLING: TELLING}}}},
}}
flow = create(Node(act, name="act " + TELLING, policy=NodePolicy(validate="in", max_retries=0)).to())
registry = ModelRegistry()
registry.register("act " + TELLING, Order, Order)
"""


@pytest.fixture
def project(project: Path) -> Path:
    (project / "odd.py").write_text(ODD)
    return project


def looked_at(terminal: Steady) -> None:
    """The payload of the run that is shown: unfolded, copied, raw."""
    terminal.press(b"3gj\r*GgyJ")
    terminal.visit()


@pytest.mark.parametrize("word", ["huge", "lines"])
def test_payloads_of_50_mb(opened: Opened, word: str) -> None:
    with opened("odd.py") as terminal:
        terminal.until_shown("odd", "ready")
        terminal.runs(word, "✔✖")
        looked_at(terminal)
        terminal.press(b"4]G\rD")
        terminal.visit()
        terminal.visit_screens()
        terminal.runs("well")
        terminal.leave()


def test_payloads_that_are_wide_or_deep(opened: Opened) -> None:
    with opened("odd.py") as terminal:
        terminal.until_shown("odd", "ready")
        for word in ("wide", "deep"):
            terminal.runs(word, "✔✖")
            looked_at(terminal)
        terminal.runs("well")
        terminal.leave()


def test_what_speaks_to_the_terminal_is_shown_and_not_passed_on(opened: Opened) -> None:
    with opened("odd.py", size=(140, 44)) as terminal:
        terminal.until_shown("odd", "ready")
        for word, status in (("raise", "✖"), ("odd", "✔")):
            terminal.runs(word, status)
            looked_at(terminal)
            terminal.press(b"5gm")
            terminal.visit_screens()
        terminal.leave()
