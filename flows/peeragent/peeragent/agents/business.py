"""The business agent: three rounds of questions, then a diagnosis.

Whoever can answer at once is asked at once (`ctx.ask`: a dashboard, a terminal), and the rounds go on within the run.
Where nobody can, the run ends with the questions, and the session keeps where the rounds stand.

Each answer is judged. One that does not do is asked for again, with what it lacks, `MAX_REPEATS` times at most. What
counts is decided here, from what the judge says of each question and quotes: an answer cannot say that it is good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Literal

from pydantic import BaseModel, Field

from peeragent.agents import prompts
from peeragent.agents.tools import Tools, made
from peeragent.errors import AgentFailed
from peeragent.llm import Form
from peeragent.models.agents import (
    MORE_EMOJI,
    PHASE_EMOJI,
    PHASES,
    BusinessAgentQuestions,
    BusinessDiagnosis,
    ModelUsed,
    Text,
)
from peeragent.models.turns import Round, Routed, SocraticState, TurnResult
from penguiflow import Context
from penguiflow.asking import NobodyAnswers

MAX_REPEATS = 2
"""How often a round is asked again."""
MAX_ANSWERS = 10
MAX_ANSWER = 4000
"""Characters of an answer that count."""
MAX_QUESTION = 500
"""Characters of what a client calls the question that it answers."""
MAX_FEEDBACK = 500
LEAST_QUOTE = 2
"""Letters or digits of a quote that proves something."""

_TO_THE_JUDGE = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,60}\b(?:instructions?|prompts?)\b"
    r"|\b(?:ignore|disregard|forget) (?:everything|all|the|what is) (?:of (?:the )?)?(?:above|previous|before)\b"
    r"|can_?proceed|system prompt|\"quality\"|\"addressed\"|\bquality\s*[:=]\s*good\b"
    r"|\b(?:you are|act as|pretend to be)\b.{0,30}\b(?:assistant|judge|language model)\b"
    r"|\b(?:mark|rate|grade|judge|accept|treat)\b.{0,30}\b(?:answers?|verdict)\b.{0,30}"
    r"\b(?:good|valid|complete|sufficient|true|addressed)\b",
    re.IGNORECASE | re.DOTALL,
)
_SENTENCE = re.compile(r"(?<=[.!?;\n])\s+|\n+")
_SIGNS = re.compile(r"[^\w%$€£]+")


class _Asked(BaseModel):
    questions: list[Text] = Field(min_length=1)
    category: str = ""


class _Judged(BaseModel):
    quality: Literal["irrelevant", "vague", "partial", "good"]
    addressed: list[int]
    evidence: list[str]
    missing_info: list[str] = Field(default_factory=list)
    feedback: str = ""


class _Played(BaseModel):
    answers: list[Text] = Field(min_length=1)


ASKED = Form(_Asked)
JUDGED = Form(_Judged)
PLAYED = Form(_Played)
DIAGNOSED = Form(BusinessDiagnosis)


class Verdict(BaseModel):
    """What is made of answers."""

    enough: bool
    feedback: str = ""


async def business(turn: Routed, ctx: Context, tools: Tools) -> TurnResult | Routed:
    """Go on with the rounds: the next questions, or (a `Routed`) the diagnosis for the problem agent."""
    rounds = _Rounds(turn, ctx, tools)
    if turn.request.answers:
        await rounds.take(turn.request.answers)
    while True:
        if rounds.over:
            return await rounds.diagnosed()
        if not rounds.state.asked:
            await rounds.ask()
        answers = await rounds.answered_now()
        if answers is None:
            return rounds.questions()
        await rounds.take(answers)


class _Rounds:
    """The rounds of a session, as far as this turn takes them."""

    def __init__(self, turn: Routed, ctx: Context, tools: Tools) -> None:
        request = turn.request
        state = request.socratic
        if request.answers:
            if state is None or not state.waits:
                raise AgentFailed("NO_OPEN_QUESTIONS", "there are no open questions in this session: begin with a task")
            self.state = state.model_copy(deep=True)
        else:
            self.state = SocraticState(task=request.task)
        self.turn = turn
        # The task is that of the first turn, whatever came since.
        self.request = request.model_copy(update={"task": self.state.task, "answers": {}})
        self.ctx = ctx
        self.tools = tools
        self.used: ModelUsed = tools.model.first
        self.feedback: str | None = None
        self.cut_short = False

    @property
    def over(self) -> bool:
        return self.cut_short or len(self.state.rounds) == len(PHASES)

    async def ask(self) -> None:
        """Have the questions of the next round made."""
        phase = PHASES[len(self.state.rounds)]
        asked = prompts.messages(prompts.QUESTIONS, self.request, round=phase, answers=told(self.state.rounds))
        reply, self.used = await self.tools.model.form(self.ctx, asked, ASKED, purpose=f"questions.{phase}")
        self.state.asked = list(dict.fromkeys(reply.questions))[:3]
        self.state.repeats = 0
        self.state.category = reply.category or phase
        self.feedback = None

    async def answered_now(self) -> dict[str, str] | None:
        """The answers of whoever can give them at once; None where nobody can."""
        if self.turn.request.demo:
            return await self._played()
        number, phase = len(self.state.rounds) + 1, PHASES[len(self.state.rounds)]
        answers: dict[str, str] = {}
        for question in self.state.asked:
            emoji = MORE_EMOJI if self.feedback else PHASE_EMOJI[phase]
            before = f"{self.feedback} " if self.feedback and not answers else ""
            prompt = f"{emoji} {before}Round {number}/{len(PHASES)} ({phase}): {question}"
            if not self.ctx.may_ask(prompt):
                return None
            try:
                answers[question] = await self.ctx.ask(prompt, str)
            except NobodyAnswers:  # they have left since
                return None
        return answers

    async def take(self, answers: Mapping[str, str]) -> None:
        """Judge answers: they end the round, or it is asked again."""
        phase = PHASES[len(self.state.rounds)]
        shortened = ((question[:MAX_QUESTION], answer[:MAX_ANSWER]) for question, answer in answers.items())
        given = dict(islice(shortened, MAX_ANSWERS))
        verdict = Verdict(enough=True) if self.turn.request.demo else await self._judged(given)
        if not verdict.enough and self.state.repeats < MAX_REPEATS:
            self.state.repeats += 1
            self.feedback = verdict.feedback
            return
        self.state.rounds.append(Round(phase=phase, questions=self.state.asked, answers=given))
        self.state.asked = []
        self.state.repeats = 0
        self.feedback = None
        self.cut_short = self.turn.request.diagnose_now

    async def _judged(self, answers: Mapping[str, str]) -> Verdict:
        sincere = sincerely(answers)
        if not any(_signs(answer) for _, answer in sincere):
            return Verdict(enough=False, feedback="That does not answer the questions. Please tell what you know.")
        numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(self.state.asked, start=1))
        asked = prompts.messages(prompts.JUDGE, self.request, questions=numbered, answers=paired(sincere))
        judged, self.used = await self.tools.model.form(self.ctx, asked, JUDGED, purpose="judge", temperature=0.0)
        return weighed(judged, self.state.asked, sincere)

    async def _played(self) -> dict[str, str]:
        numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(self.state.asked, start=1))
        asked = prompts.messages(prompts.CUSTOMER, self.request, questions=numbered, answers=told(self.state.rounds))
        reply, self.used = await self.tools.model.form(self.ctx, asked, PLAYED, purpose="demo.answers")
        answers = [*reply.answers, *([reply.answers[-1]] * len(self.state.asked))]
        return dict(zip(self.state.asked, answers, strict=False))

    def questions(self) -> TurnResult:
        """The open questions, as the result of the turn."""
        phase = PHASES[len(self.state.rounds)]
        output = BusinessAgentQuestions(
            session_id=self.turn.request.session_id,
            questions=self.state.asked,
            category=self.state.category or phase,
            phase=phase,
            phase_emoji=MORE_EMOJI if self.feedback else PHASE_EMOJI[phase],
            round_number=len(self.state.rounds) + 1,
            feedback=self.feedback,
        )
        return made(self.turn, "questions", output, self.used, socratic=self.state)

    async def diagnosed(self) -> Routed:
        """The diagnosis, on its way to the problem agent."""
        asked = prompts.messages(prompts.DIAGNOSIS, self.request, answers=told(self.state.rounds))
        diagnosis, self.used = await self.tools.model.form(self.ctx, asked, DIAGNOSED, purpose="diagnosis")
        request = self.turn.request.model_copy(update={"task": self.state.task})
        found = {"request": request, "diagnosis": diagnosis, "rounds": self.state.rounds}
        return self.turn.model_copy(update=found)


def sincerely(answers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Questions and answers without sentences that are meant for a model: a client names the questions, too."""
    return [(without_orders(question) or "(another)", without_orders(answer)) for question, answer in answers.items()]


def paired(answers: Iterable[tuple[str, str]]) -> str:
    """Questions and answers, as a model is shown them."""
    return "\n".join(f"Q: {question}\nA: {answer}" for question, answer in answers) or "(none yet)"


def told(rounds: Sequence[Round]) -> str:
    """All that was answered, as a model is shown it."""
    return paired(pair for each in rounds for pair in sincerely(each.answers))


def without_orders(answer: str) -> str:
    """An answer without sentences that are meant for the judge."""
    return " ".join(each for each in _SENTENCE.split(answer) if each and not _TO_THE_JUDGE.search(each))


def weighed(judged: _Judged, questions: Sequence[str], answers: Iterable[tuple[str, str]]) -> Verdict:
    """Whether answers do. A judge's word counts as far as it quotes what was answered."""
    said = _signs("\n".join(answer for _, answer in answers))
    quoted = [_signs(quote) for quote in judged.evidence]
    proven = [quote for quote in quoted if len(quote.replace(" ", "")) >= LEAST_QUOTE and quote in said]
    addressed = {number for number in judged.addressed if 1 <= number <= len(questions)}
    needed = {"good": 1, "partial": (len(questions) + 1) // 2}.get(judged.quality)
    if needed is not None and proven and len(addressed) >= needed:
        return Verdict(enough=True)
    missing = ", ".join(judged.missing_info)
    feedback = judged.feedback or (f"Please also tell: {missing}" if missing else "Please tell a little more.")
    return Verdict(enough=False, feedback=feedback[:MAX_FEEDBACK])


def _signs(text: str) -> str:
    return _SIGNS.sub(" ", text.casefold()).strip()
