"""Who does a task: words first, then the session's last agent, then the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pydantic import BaseModel, Field, field_validator

from peeragent.agents import prompts
from peeragent.errors import AgentFailed
from peeragent.keywords import COMPILED, HINT, INTENT, LEAD, LEAD_WORDS, TOPIC
from peeragent.llm import Form, Model
from peeragent.models.agents import Agent, Route
from peeragent.models.turns import TurnRequest
from penguiflow import Context

ENOUGH = 2
"""Points without which no agent is chosen by words."""
AHEAD = 1
"""Points by which it must be ahead of the next one."""
REMEMBERED = 300
"""Characters of tasks whose words are counted once."""
HEAD = 800
TAIL = 400
"""Characters at both ends of a task that are looked at: what a task wants stands there, around what it is about."""
SHORT = 4
"""Words of a task that is so short that it goes on with what was before, where nothing else speaks."""

_WORD = re.compile(r"\w+")
_GOES_ON = re.compile(
    r"\W*(?:and|also|but|now|then|what about|how about|same|again|more|another|instead|make (?:it|that|this|them)|"
    r"can you (?:make|change|add)|add|change|shorter|longer|simpler|continue|go on)\b",
    re.IGNORECASE,
)
_REFERS = re.compile(r"\b(?:it|that|this|those|these|the same|above|previous|last one)\b", re.IGNORECASE)


@dataclass(slots=True)
class _Points:
    agent: Agent
    points: int = 0
    intent: bool = False
    words: list[str] = field(default_factory=list)

    def take(self, pattern: re.Pattern[str], text: str, weight: int) -> bool:
        """Count what is found: the first with its weight, more if the text begins with it; others a little."""
        first = True
        for match in pattern.finditer(text):
            words = " ".join(match[0].split()).casefold()
            if words in self.words:
                continue
            self.words.append(words)
            if not first:
                self.points += TOPIC
                continue
            first = False
            self.points += weight
            if len(_WORD.findall(text[: match.start()])) < LEAD_WORDS:
                self.points += LEAD
        return not first


class _Chosen(BaseModel):
    """What a model says."""

    agent: Agent
    score: float = Field(ge=0, le=1)
    reason: str

    @field_validator("agent", mode="before")
    @classmethod
    def _name(cls, given: object) -> object:
        return given.strip().casefold().removesuffix("_agent") if isinstance(given, str) else given


CHOSEN = Form(_Chosen)


def by_keywords(task: str) -> Route | None:
    """The agent for which the task's words speak plainly; None where none do, or several."""
    found = _counted(task)
    return _plainly(found)


class Router:
    """Decides who does a task that names no agent."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def classify(self, request: TurnRequest, ctx: Context | None = None) -> Route:
        """Who does it, and why. A model that cannot be understood leaves it to the content agent; nothing is raised.

        `ctx` is that of the node that asks, where one does.
        """
        found = _counted(request.task)
        chosen = _plainly(found)
        last, waits = request.last_agent, request.socratic is not None and request.socratic.waits
        if waits and chosen is None:
            return resumed()
        # A diagnosis is an end: what comes after it need not be another problem.
        intent = bool(found) and found[0].intent
        if last is not None and last is not Agent.BUSINESS and _goes_on(request.task, chosen, intent=intent):
            reason = f"it goes on with what the {last} agent did before"
            return Route(agent=last, method="session", score=0.8, reason=reason)
        if chosen is not None:
            return chosen
        return await self._by_model(request, ctx)

    async def _by_model(self, request: TurnRequest, ctx: Context | None) -> Route:
        last = "There was no turn yet." if request.last_agent is None else f"The last word had: {request.last_agent}."
        asked = prompts.messages(prompts.ROUTE, request, session=last)
        try:
            chosen, _ = await self._model.form(ctx, asked, CHOSEN, purpose="route", temperature=0.0, repairs=1)
        except AgentFailed as failure:
            reason = f"no words speak for an agent, and the model did not choose one ({failure.code})"
            return Route(agent=Agent.CONTENT, method="default", score=0.0, reason=reason)
        return Route(agent=chosen.agent, method="llm", score=chosen.score, reason=chosen.reason or "the model says so")


def direct(agent: Agent) -> Route:
    """That of a request which names its agent."""
    return Route(agent=agent, method="direct", score=1.0, reason="the request names the agent")


def resumed() -> Route:
    """That of what answers the business agent's questions: `answers`, or a text while they are open."""
    return Route(agent=Agent.BUSINESS, method="session", score=1.0, reason="answers to the questions that are open")


def _counted(task: str) -> Sequence[_Points]:
    """Points of each agent, the best first."""
    return _counted_in_short(task) if len(task) <= REMEMBERED else _count(task)


@lru_cache(256)
def _counted_in_short(task: str) -> Sequence[_Points]:
    """The same tasks come again: classified, then done; tried again; asked by many."""
    return _count(task)


def _count(task: str) -> Sequence[_Points]:
    text = task if len(task) <= HEAD + TAIL else f"{task[:HEAD]}\n{task[-TAIL:]}"
    found = []
    for agent, (intents, hints, topics) in COMPILED.items():
        counted = _Points(agent)
        counted.intent = counted.take(intents, text, INTENT)
        counted.take(hints, text, HINT)
        for match in topics.finditer(text):
            word = match[0].casefold()
            if word not in counted.words:
                counted.words.append(word)
                counted.points += TOPIC
        if counted.points:
            found.append(counted)
    return tuple(sorted(found, key=lambda each: (-each.points, not each.intent)))


def _plainly(found: Sequence[_Points]) -> Route | None:
    if not found:
        return None
    best, second = found[0], found[1].points if len(found) > 1 else 0
    if best.points < ENOUGH or best.points - second < AHEAD:
        return None
    words = best.words[:8]
    reason = f"its words speak for the {best.agent} agent: {', '.join(words)}"
    score = round(best.points / (best.points + second + 1), 2)
    return Route(agent=best.agent, method="keyword", score=score, reason=reason, keywords=words)


def _goes_on(task: str, chosen: Route | None, *, intent: bool) -> bool:
    """Whether a task only makes sense after what was before."""
    if chosen is not None:
        return not intent and _GOES_ON.match(task) is not None
    words = len(_WORD.findall(task[: HEAD + TAIL]))
    return words <= SHORT or _GOES_ON.match(task) is not None or (words <= 3 * SHORT and bool(_REFERS.search(task)))
