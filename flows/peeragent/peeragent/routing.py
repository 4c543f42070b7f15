"""Who does a task: words first, then the session's last agent, then the model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from peeragent.agents import prompts
from peeragent.errors import AgentFailed
from peeragent.keywords import COMPILED, INTENT, LEAD, LEAD_WORDS, TOPIC
from peeragent.llm import Form, Model
from peeragent.models.agents import Agent, Route
from peeragent.models.turns import TurnRequest
from penguiflow import Context

ENOUGH = 2
"""Points without which no agent is chosen by words."""
AHEAD = 1
"""Points by which it must be ahead of the next one."""
SCANNED = 4000
"""Characters of a task that are looked at: what a task wants is said at its beginning."""
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


class _Chosen(BaseModel):
    """What a model says."""

    agent: Agent
    score: float = Field(ge=0, le=1)
    reason: str


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
        last = request.last_agent
        if last is not None and (chosen is None or not found[0].intent) and _goes_on(request.task):
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
    """That of answers to the business agent's questions."""
    return Route(agent=Agent.BUSINESS, method="session", score=1.0, reason="answers to the questions that are open")


def _counted(task: str) -> list[_Points]:
    """Points of each agent, the best first."""
    text = task[:SCANNED]
    found = []
    for agent, (intents, topics) in COMPILED.items():
        counted = _Points(agent)
        seen = set()
        for match in intents.finditer(text):
            words = " ".join(match[0].split()).casefold()
            if words in seen:
                continue
            seen.add(words)
            counted.intent = True
            # Of two intents one is said first: to write a script that analyzes data is to write a script.
            counted.points += INTENT if len(seen) == 1 else TOPIC
            if len(seen) == 1 and len(_WORD.findall(text[: match.start()])) < LEAD_WORDS:
                counted.points += LEAD
        for match in topics.finditer(text):
            word = match[0].casefold()
            if word not in seen:
                seen.add(word)
                counted.points += TOPIC
        counted.words = sorted(seen)
        if counted.points:
            found.append(counted)
    return sorted(found, key=lambda each: (-each.points, not each.intent))


def _plainly(found: list[_Points]) -> Route | None:
    if not found:
        return None
    best, second = found[0], found[1].points if len(found) > 1 else 0
    if best.points < ENOUGH or best.points - second < AHEAD:
        return None
    words = best.words[:8]
    reason = f"its words speak for the {best.agent} agent: {', '.join(words)}"
    score = round(best.points / (best.points + second + 1), 2)
    return Route(agent=best.agent, method="keyword", score=score, reason=reason, keywords=words)


def _goes_on(task: str) -> bool:
    words = len(_WORD.findall(task[:SCANNED]))
    return words <= SHORT or _GOES_ON.match(task) is not None or (words <= 3 * SHORT and bool(_REFERS.search(task)))
