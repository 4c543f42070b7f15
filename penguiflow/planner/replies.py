"""Replies to small questions: a text, or JSON with a text in it."""

from __future__ import annotations

from penguiflow.planner.extraction import read_reply
from penguiflow.planner.relaxed_json import without_surrogates

__all__ = ["text_of_reply"]

_TEXTS = ("raw_answer", "answer", "text", "response", "content")


def text_of_reply(reply: str) -> str:
    """The text that a reply gives: in JSON under one of the usual keys, also within `args`; else all of it."""
    for found in read_reply(reply).objects:
        args = found.data.get("args")
        for data in (found.data, args if isinstance(args, dict) else {}):
            for key in _TEXTS:
                value = data.get(key)
                if isinstance(value, str) and value.strip():
                    return value
    text = without_surrogates(reply).strip()
    return "" if text.startswith(("{", "[")) else text
