"""The model that answers where no key is set: rules that read what any model is told. No network, always the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from peeragent.agents import prompts
from peeragent.models.agents import Agent
from peeragent.scripted_business import answers, diagnosis, judgment, questions, tree
from peeragent.scripted_code import program
from peeragent.scripted_texts import competitors, content, email, reading, summary, translation
from penguiflow.llm import LLMRequest, ScriptedModel

PIECE = 24
"""Characters that are streamed at once."""

_LOOSE: tuple[tuple[Agent, str], ...] = (
    (Agent.CODE, r"cod(?:e|igo)|program|softwar|funci|algorit|skript|script"),
    (Agent.TRANSLATE, r"translat|traduc|übersetz|tradui|перевед|çevir"),
    (Agent.EMAIL, r"mail|correo|courriel"),
    (Agent.SUMMARY, r"summ|resum|zusammenfass|résum|shorten"),
    (Agent.DATA, r"\bdata\b|dato|daten|statisti|numbers?|zahlen"),
    (Agent.COMPETITOR, r"compet|konkurr|rival"),
    (Agent.BUSINESS, r"sales|ventas|umsatz|kunde|client|customer|revenue|profit|business|compan|churn|ventes|empresa"),
    (Agent.PROBLEM, r"\bcauses?\b|ursache|causas"),
)


def _route(parts: Mapping[str, str]) -> dict[str, Any]:
    task = parts.get("task", "").casefold()
    for agent, stems in _LOOSE:
        match = re.search(stems, task)
        if match is not None:
            return {"agent": agent, "score": 0.6, "reason": f"the task speaks of {match[0]!r}"}
    return {"agent": Agent.CONTENT, "score": 0.4, "reason": "nothing else fits: it is answered from documents"}


_SAY: dict[str, Callable[[Mapping[str, str]], str | dict[str, Any]]] = {
    prompts.ROUTE.text: _route,
    prompts.CODE.text: program,
    prompts.CONTENT.text: content,
    prompts.QUESTIONS.text: questions,
    prompts.JUDGE.text: judgment,
    prompts.DIAGNOSIS.text: diagnosis,
    prompts.TREE.text: tree,
    prompts.CUSTOMER.text: answers,
    prompts.SUMMARY.text: summary,
    prompts.TRANSLATION.text: translation,
    prompts.EMAIL.text: email,
    prompts.DATA.text: reading,
    prompts.COMPETITOR.text: competitors,
}


def reply(request: LLMRequest) -> str:
    """What is said to a request; something that fits no prompt of this package gets nothing."""
    say = _SAY.get(request.messages[0].text)
    said = "" if say is None else say(prompts.read_data(request.messages))
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def scripted_model() -> ScriptedModel:
    """A model of its own: it keeps what it was asked."""
    return ScriptedModel(rules=[(_always, reply)], piece=PIECE)


def _always(request: LLMRequest) -> bool:
    return True
