"""Questions of runs (`ctx.ask`) on their way to clients, and their answers back. All of it on the loop of the runs.

While a client is there that answers, a run waits for it. When the last one is gone questions stay open for a while;
then tools of planners pause their runs, and other nodes are told that nobody answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import penguiflow.asking as asking
from penguiflow.asking import NobodyAnswers
from penguiflow.ids import new_id
from penguiflow.recording.masking import Masker
from playground.protocol import Accepted, Answer, BaseFrame, Error, Question, Questions

__all__ = ["Desk"]

_ID_CHARS = 12
"""Of a question: unique among all workers that one may talk to."""


class _Open:
    """A question that waits."""

    def __init__(self, question: asking.Question, shown: Question) -> None:
        self.question = question
        self.shown = shown
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Desk:
    """Answers what runs of a host ask: an `Answerer`.

    Args:
        tell: Sends a frame to all clients.
        changed: Called when other runs wait than before.
        masker: Hides secrets in questions.
        hold_s: How long questions wait for a client when the last one that answers is gone.
    """

    def __init__(
        self,
        *,
        tell: Callable[[BaseFrame], None],
        changed: Callable[[], None],
        masker: Masker | None,
        hold_s: float,
    ) -> None:
        self._tell = tell
        self._changed = changed
        self._masker = masker
        self._hold_s = hold_s
        self._open: dict[str, _Open] = {}
        self._leaving: asyncio.TimerHandle | None = None
        self.there = False
        """Whether a client answers, or did a moment ago."""

    @property
    def waiting(self) -> set[str]:
        """The traces that have open questions."""
        return {each.shown.trace_id for each in self._open.values()}

    def questions(self) -> Questions:
        """What is open, oldest first."""
        return Questions(questions=[each.shown for each in self._open.values() if not each.answer.done()])

    def attend(self) -> None:
        """A client answers from now on."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self.there = True

    def unattended(self) -> None:
        """The last client that answers is gone."""
        if self.there and self._leaving is None:
            wait_s = self._hold_s if self._open else 0.0
            self._leaving = asyncio.get_running_loop().call_later(wait_s, self._give_up)

    def take(self, request: Answer) -> BaseFrame:
        """Give an answer to the run that waits for it; what does not fit is refused, and it waits on."""
        found = self._open.get(request.question)
        if found is None or found.answer.done():
            return Error(code="not_found", message=f"question {request.question} is not open any more")
        if request.declined:
            found.answer.set_exception(NobodyAnswers(f"nobody answers {found.shown.prompt!r}"))
            return Accepted(trace_id=found.shown.trace_id)
        problem = found.question.problem(request.value)
        if problem is not None:
            return Error(code="invalid_input", message=problem, details=[{"path": "/value", "message": problem}])
        found.answer.set_result(request.value)
        return Accepted(trace_id=found.shown.trace_id)

    async def answer(self, question: asking.Question) -> Any:
        """The answer of a client. Raises `NobodyAnswers` when none is left."""
        if not self.there:
            raise NobodyAnswers(f"nobody is there any more to answer {question.prompt!r}")
        prompt = question.prompt if self._masker is None else str(self._masker.value(question.prompt))
        name = new_id()[:_ID_CHARS]
        found = self._open[name] = _Open(
            question,
            Question(
                question=name,
                trace_id=question.trace_id or "",
                span_id=question.span_id,
                prompt=prompt,
                value_schema=question.json_schema,
                since=time.time(),
            ),
        )
        self._tell_all()
        try:
            return await found.answer
        finally:
            del self._open[name]
            self._tell_all()

    def _give_up(self) -> None:
        self._leaving = None
        self.there = False
        for each in self._open.values():
            if not each.answer.done():
                each.answer.set_exception(NobodyAnswers(f"nobody is there any more to answer {each.shown.prompt!r}"))

    def _tell_all(self) -> None:
        self._tell(self.questions())
        self._changed()
