"""A model that researches by rules: it needs no key, never runs dry, and answers from nothing but what it was told.

What it decides is a function of the request alone. So a run that is edited, forked or given another tool's result goes
on from what is there then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from flows._conversation import Conversation, is_decision, objects_in, read_conversation, texts_in
from flows._corpus import best_sentence, sentences, words
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.types import LLMRequest

MAX_DECISIONS = 8
"""After these it answers with what it has."""
MAX_FAILURES = 2
"""Pages that may be missing before it gives up on reading."""
AT_ONCE = 3
"""Related pages that are read together."""
_WANTS_REPORT = re.compile(r"\b(publish|report)\b", re.IGNORECASE)
_BRIEFLY = re.compile(r"\b(briefly|in short|in a word)\b", re.IGNORECASE)
_LOOKS_BACK = re.compile(r"\b(did|have) (i|we) (ask|asked|talk|talked)\b", re.IGNORECASE)


def research_model() -> ScriptedModel:
    """The scripted model of `research_agent`."""
    return ScriptedModel(
        rules=[(is_decision, lambda request: decide(read_conversation(request))), (_is_summary, _summarize)],
        model="scripted-researcher",
    )


def decide(told: Conversation) -> dict[str, Any]:
    """The next action."""
    for choose in (_look_back, _stop, _search, _read, _read_related, _hold_together, _publish):
        action = choose(told)
        if action is not None:
            return action
    return answer(told)


def answer(told: Conversation) -> dict[str, Any]:
    """What is known: quotes of what was read, what became of the report, and what is remembered."""
    parts = [_findings(told)]
    missing = [str(call.args.get("url")) for call in told.failed("fetch", "skim")]
    if missing:
        parts.append(f"I could not read {', '.join(dict.fromkeys(missing))}.")
    parts.extend(_of_report(told))
    if told.summary:
        parts.append(f"I remember: {told.summary}")
    return {"next_node": "final_response", "args": {"answer": "\n\n".join(part for part in parts if part)}}


# What there is to decide, in this order


def _look_back(told: Conversation) -> dict[str, Any] | None:
    if told.calls or not _LOOKS_BACK.search(told.query):
        return None
    lines = [f"- {question}" for question, _ in told.turns]
    asked = "\n".join(["You asked:", *lines]) if lines else ""
    remembered = f"I remember: {told.summary}" if told.summary else ""
    text = "\n\n".join(part for part in (asked, remembered) if part) or "I remember no earlier question."
    return {"next_node": "final_response", "args": {"answer": text}}


def _stop(told: Conversation) -> dict[str, Any] | None:
    return answer(told) if told.decisions >= MAX_DECISIONS else None


def _search(told: Conversation) -> dict[str, Any] | None:
    if told.of("search") or _pages(told) or len(told.failed("search")) >= MAX_FAILURES:
        return None
    asked = " ".join(sorted(words(told.query))) or told.query or "penguin"
    return {"thought": "Which documents are there?", "next_node": "search", "args": {"query": asked}}


def _read(told: Conversation) -> dict[str, Any] | None:
    urls = _unread(told)
    if _pages(told) or not urls or len(told.failed("fetch", "skim")) > MAX_FAILURES:
        return None
    return {"thought": "I read the best one first.", "next_node": "fetch", "args": {"url": urls[0]}}


def _read_related(told: Conversation) -> dict[str, Any] | None:
    if told.planned or not _pages(told) or _BRIEFLY.search(told.query):
        return None
    urls = _unread(told)[:AT_ONCE]
    if not urls:
        return None
    steps = [{"node": "fetch", "args": {"url": url}} for url in urls]
    join = {"node": "compare", "args": {"question": told.query}, "inject": {"pages": "$results"}}
    args = {"steps": steps, "join": join}
    return {"thought": "What do the related pages say?", "next_node": "parallel", "args": args}


def _hold_together(told: Conversation) -> dict[str, Any] | None:
    """The join was left out, because a page is missing: do it with the pages that are there."""
    pages = [page for page in told.given("fetch") if {"url", "title", "text"} <= page.keys()]
    if not told.planned or not pages or told.of("compare") or told.failed("compare"):
        return None
    return {"next_node": "compare", "args": {"question": told.query, "pages": pages}}


def _publish(told: Conversation) -> dict[str, Any] | None:
    if not _WANTS_REPORT.search(told.query) or told.of("publish") or told.failed("publish") or not _pages(told):
        return None
    title = f"On {_pages(told)[0].get('title')}"
    return {"next_node": "publish", "args": {"title": title, "body": _findings(told)}}


# What is known


def _pages(told: Conversation) -> list[Mapping[str, Any]]:
    """What was read, whole or in part."""
    return told.given("fetch", "skim")


def _unread(told: Conversation) -> list[str]:
    """URLs that are known and were not tried yet: related pages first, then what else was found."""
    tried = {str(call.args.get("url")) for call in told.calls}
    related = [url for page in _pages(told) for url in texts_in(page, "related")]
    found = [str(hit.get("url") or "") for hits in told.given("search") for hit in objects_in(hits, "hits")]
    return [url for url in dict.fromkeys([*related, *found]) if url and url not in tried]


def _findings(told: Conversation) -> str:
    pages = _pages(told)
    if not pages:
        return f"I found nothing about {told.query!r} that I could read."
    lines = []
    compared = [each for made in told.given("compare") for each in objects_in(made, "findings")]
    quoted = {str(each.get("url")) for each in compared}
    for page in pages:
        if page.get("url") not in quoted:
            text = str(page.get("text") or page.get("first_sentence") or "")
            lines.append(f"{page.get('title')}: {best_sentence(text, told.query)}")
    lines.extend(f"{each.get('title')}: {each.get('sentence')}" for each in compared)
    return "\n".join(lines)


def _of_report(told: Conversation) -> list[str]:
    for made in told.given("publish"):
        return [f"Published as {made.get('reference')}." if made.get("published") else "The report was not approved."]
    return [f"The report could not be published: {call.error}" for call in told.failed("publish")[:1]]


# The summary of a conversation


def _is_summary(request: LLMRequest) -> bool:
    return any('"turns"' in message.text for message in request.messages if message.role == "user")


def _summarize(request: LLMRequest) -> str:
    """The summary so far, and for each further turn what was asked and the first sentence of the answer."""
    told = json.loads(next(message.text for message in request.messages if message.role == "user"))
    lines = [str(told.get("summary") or "")]
    for turn in told["turns"]:
        first = next(iter(sentences(str(turn.get("assistant", "")))), "no answer")
        lines.append(f"Asked {str(turn.get('user', '')).rstrip('?')!r}: {first}")
    return " ".join(line for line in lines if line)
