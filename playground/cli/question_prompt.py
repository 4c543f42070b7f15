"""Questions of a run at a terminal: each is shown, and whoever sits there answers."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from playground.cli.console import Console
from playground.cli.lines import Lines
from playground.cli.progress import Progress
from playground.dashboard.text import many_lines
from playground.protocol import Answer, BaseFrame, Question, Questions
from playground.session import HostDied, HostSession
from playground.sources import RunRefused

__all__ = ["QuestionPrompt"]

_SHOWN_CHOICES = 12


class QuestionPrompt:
    """Asks whoever sits at the terminal, one question after the other. The end of the file (Ctrl-D) is no answer."""

    def __init__(self, console: Console, lines: Lines | None = None) -> None:
        self._console = console
        self._lines = lines or Lines()
        self._open: dict[str, Question] = {}
        self._changed = asyncio.Event()

    @staticmethod
    def possible(console: Console) -> bool:
        """Whether somebody sits there."""
        return console.err_terminal and sys.stdin is not None and sys.stdin.isatty()

    async def attend(self, host: HostSession) -> None:
        """Have the host know that there is somebody who answers."""
        await host.debug(Questions())

    def take(self, frame: BaseFrame) -> None:
        """Take what the host says of questions."""
        if isinstance(frame, Questions):
            self._open = {each.question: each for each in frame.questions}
            self._changed.set()

    async def work(self, host: HostSession, progress: Progress) -> None:
        """Ask until cancelled."""
        while True:
            self._changed.clear()
            if not self._open:
                await self._changed.wait()
                continue
            question = next(iter(self._open.values()))
            async with self._lines.turn:
                progress.hold()
                try:
                    await self._ask(host, question)
                except HostDied:  # which the run's result tells
                    return
                finally:
                    progress.release()
            self._open.pop(question.question, None)

    async def _ask(self, host: HostSession, question: Question) -> None:
        self._console.tell(self._console.err_paint("bold", f"? {many_lines(question.prompt)}{_choices(question)}"))
        while True:
            line = await self._line(question)
            if line is None and question.question not in self._open:
                return
            try:
                await host.debug(Answer(question=question.question, value=line, declined=line is None))
            except RunRefused as refused:
                self._console.tell(self._console.err_paint("error", many_lines(str(refused))))
                if refused.details:  # it does not fit
                    continue
            return

    async def _line(self, question: Question) -> str | None:
        """What is typed; None for the end of the file, and when somebody else has answered."""
        self._console.tell("> ", end="")
        typing = asyncio.create_task(self._lines.next())
        try:
            while question.question in self._open:
                changed = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait({typing, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                if typing.done():
                    line = typing.result()
                    if line is None:
                        self._console.tell("")
                    return line
                self._changed.clear()
            self._console.tell("")
            self._console.tell(self._console.err_paint("dim", "it is answered already"))
            return None
        except BaseException:
            self._console.tell("")  # the prompt's line is not to be written on
            raise
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)


def _choices(question: Question) -> str:
    """What fits, where that is little."""
    schema: dict[str, Any] = question.value_schema or {}
    if schema.get("type") == "boolean":
        return " (true, false)"
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices and len(choices) <= _SHOWN_CHOICES:
        texts = [each if isinstance(each, str) else json.dumps(each) for each in choices]
        return f" ({', '.join(many_lines(text) for text in texts)})"
    kind = schema.get("type")
    return f" ({kind})" if isinstance(kind, str) and kind != "string" else ""
