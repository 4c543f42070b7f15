"""A stopped run in words: where it stands, what is about to happen, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from playground.cli.console import json_text
from playground.dashboard.text import clip, many_lines, one_line
from playground.debug_frames import Why
from playground.protocol import Stopped
from playground.render.folded import fold
from playground.render.paint import Paint

__all__ = ["heading", "payload_lines", "why_lines"]

PAYLOAD_LINES = 18
WHY_LINES = 3
_PART = re.compile(r"(?P<kind>[a-z]+):(?P<name>.*)\[(?P<ordinal>[^\]]*)\]")
_ABOUT = {
    "before_node": "before node {}",
    "after_node": "after node {}",
    "before_llm": "before the model {} is asked",
    "after_decision": "after a decision: {}",
    "before_tool": "before tool {}",
    "after_tool": "after tool {}",
    "before_join": "before join {}",
    "before_finish": "before the answer of {}",
    "on_error": "at an error in {}",
}
_SHOWN = {
    "before_node": "its input",
    "after_node": "its result",
    "before_llm": "what it is sent",
    "after_decision": "the decision",
    "before_tool": "its call",
    "after_tool": "its result",
    "before_join": "its call",
    "before_finish": "the answer",
    "on_error": "what it raised",
}


_NAMED = ("node", "call", "join")
"""Parts that a heading has named already."""


def heading(stop: Stopped) -> str:
    """Where it stands: what is about to happen, and what is around it."""
    about = _ABOUT.get(stop.kind, f"{stop.kind} {{}}").format(one_line(stop.name))
    around = _around(stop.path, stop.name)
    return f"{about}{f' · {around}' if around else ''}"


def payload_lines(stop: Stopped, value: Any, paint: Paint, *, full: bool = False) -> list[str]:
    """What it stands before, as JSON; cut for the screen unless `full`."""
    if stop.payload is None and stop.bytes is not None:
        return [paint("dim", f"{_SHOWN.get(stop.kind, 'the payload')} is too large to be shown: {stop.bytes:,} bytes")]
    folded = False
    if not full:
        value, folded = fold(_without_traceback(stop, value), PAYLOAD_LINES)
    lines = many_lines(json_text(value, indent=2)).split("\n")
    return [*lines, paint("dim", "(folded: p shows all of it)")] if folded else lines


def _without_traceback(stop: Stopped, value: Any) -> Any:
    """File and line tell enough where a screen is short of lines; `p /error/traceback` prints it."""
    if stop.kind != "on_error" or not isinstance(value, dict) or not isinstance(value.get("error"), dict):
        return value
    return {**value, "error": {key: item for key, item in value["error"].items() if key != "traceback"}}


def why_lines(why: Why, paint: Paint, *, width: int, full: bool = False) -> list[str]:
    """What led there: the end of the prompt, the reply of the model, what was read from it."""
    lines: list[str] = []
    messages = why.messages if full else why.messages[-1:]
    for message in messages:
        content = message.get("content")
        text = content if isinstance(content, str) else json_text(content)
        lines += _told(f"prompt, {one_line(str(message.get('role') or '?'))}", text, paint, width, full=full)
    reply = _said(why.reply)
    if reply is not None:
        text = reply if isinstance(reply, str) else json_text(reply, indent=2 if full else None)
        lines += _told("reply", text, paint, width, full=full)
    if why.decision is not None:
        lines += _told("decision", json_text(why.decision, indent=2 if full else None), paint, width, full=full)
    if why.cut and full:
        seqs = ", ".join(f"{name} at event {seq}" for name, seq in why.seqs.items())
        lines.append(paint("dim", f"({', '.join(why.cut)} cut; the log has all of it: {seqs})"))
    return lines


def _said(reply: Any) -> Any:
    """What a model said, where its reply has more around it."""
    message = reply.get("message") if isinstance(reply, dict) else None
    if not isinstance(message, dict) or message.get("tool_calls"):
        return message if isinstance(message, dict) else reply
    return message.get("content") or message


def _told(label: str, text: str, paint: Paint, width: int, *, full: bool) -> list[str]:
    lines = many_lines(text).split("\n")
    if full:
        return [paint("dim", f"── {label}"), *lines]
    shown = [line for line in lines if line.strip()][:WHY_LINES]
    head = f"{label}: "
    return [
        paint("dim", head if number == 0 else " " * len(head)) + clip(line, max(20, width - len(head)))
        for number, line in enumerate(shown)
    ]


def _around(path: Sequence[str], name: str) -> str:
    """The parts of the run around it, the outermost first."""
    parts = [match for match in map(_PART.fullmatch, path) if match is not None]
    if parts and parts[-1]["kind"] in _NAMED and parts[-1]["name"].rpartition(".")[2] == name:
        parts.pop()
    told: list[str] = []
    seen = ""
    for part in parts:
        kind, of, ordinal = part["kind"], one_line(part["name"]), part["ordinal"]
        if kind in ("step", "attempt"):
            told.append(f"{kind} {ordinal}")
        elif kind == "branch":
            told.append(f"branch {ordinal} {of}")
        elif of != seen:
            told.append(f"{kind} {of}")
        seen = of
    return " / ".join(told)
