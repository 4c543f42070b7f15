"""Stops as lines of JSON: each is written to stdout, and what becomes of it is read from stdin."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, ValidationError

from playground.cli.debug import Debugging, read_break
from playground.cli.failures import Failure
from playground.cli.progress import Progress
from playground.protocol import (
    Accepted,
    Answer,
    BaseFrame,
    Context,
    ContextEdit,
    ContextGet,
    Decide,
    Halt,
    Kv,
    KvEdit,
    KvGet,
    Memory,
    MemoryEdit,
    MemoryGet,
    Questions,
    Resumed,
    Steer,
    Stopped,
)
from playground.session import HostDied, HostSession
from playground.sources import RunRefused

__all__ = ["Decision", "DecisionLine", "StopLine", "StopLines"]


class Decision(BaseModel):
    """One line of stdin: what becomes of a stopped run."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    stop: str | None = None
    """Which stop; the one that has waited longest by default."""
    action: Literal["continue", "proceed", "edit", "skip", "inject", "retry", "abort"] = "proceed"
    """`continue` is `proceed`. What is possible stands in `actions` of the stop."""
    value: Any = None
    """For `edit` all of what `value_schema` describes, for `skip` the result, for `abort` why."""
    edits: dict[str, Any] = {}
    """For `edit`, in place of `value`: new values by JSON Pointer into the payload."""
    then: Literal["continue", "into", "over", "out"] = "continue"
    """Where the run stops next, besides at breakpoints."""
    to: str | None = None
    """Run to here: `SPEC` or `SPEC if EXPR`."""


class Refused(BaseModel):
    """A line of stdin that was not understood, or not possible: the run waits on."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["refused"] = "refused"
    stop: str | None
    message: str
    details: list[dict[str, Any]] = []
    """For values that do not fit: `{path, message}` for each field."""


Asked = ContextGet | ContextEdit | MemoryGet | MemoryEdit | KvGet | KvEdit | Halt | Answer | Steer
"""What else can be asked for while a run waits."""
Line = Stopped | Resumed | Questions | Refused | Context | Memory | Kv | Accepted


class StopLine(RootModel[Line]):
    """`pf run --json` with breakpoints: one line of stdout before the last, which is the run's.

    `context`, `memory`, `kv` and `accepted` answer what was asked for by a line with a `type`.
    """

    root: Line = Field(discriminator="type")


class DecisionLine(RootModel[Decision | Asked]):
    """`pf run --json` with breakpoints: one line of stdin. One with a `type` asks for something, others decide."""


_asked: TypeAdapter[Asked] = TypeAdapter(Annotated[Asked, Field(discriminator="type")])


class StopLines(Debugging):
    """Asks a program."""

    closed = False
    """Nobody decides any more: runs go on."""
    questions: tuple[str, ...] = ()
    """What the run has asked (`ctx.ask`) and waits for."""

    async def attend(self, host: HostSession) -> None:
        """Decide upon stops, and answer questions."""
        await super().attend(host)
        await host.debug(Questions())

    def heard(self, frame: BaseFrame) -> None:
        """Write it down."""
        if isinstance(frame, Questions):
            self.questions = tuple(each.question for each in frame.questions)
        if isinstance(frame, Stopped | Resumed | Questions):
            self._write(frame)

    async def work(self, host: HostSession, progress: Progress) -> None:
        """Read decisions; once stdin is closed, every stop goes on."""
        while not self.closed:
            await self._wait()
            line = await self.lines.next()
            if line is None:
                self.closed = True
            elif line.strip():
                await self._obey(host, line)
        while True:
            for stop in list(self.stops):
                await self._send(host, Decide(stop=stop))
            for question in self.questions:
                await self._ask(host, Answer(question=question, declined=True))
            self.questions = ()
            await self._wait()

    async def _wait(self) -> None:
        """Until the run waits for somebody."""
        while not (self.stops or self.questions):
            self.changed.clear()
            await self.changed.wait()

    async def _obey(self, host: HostSession, line: str) -> None:
        try:
            value = json.loads(line)
            if isinstance(value, dict) and "type" in value:
                await self._ask(host, _asked.validate_python(value))
                return
            asked = Decision.model_validate(value)
            to = None if asked.to is None else read_break(asked.to)
        except (ValueError, RecursionError, Failure) as error:
            details: list[dict[str, Any]] = []
            if isinstance(error, ValidationError):
                details = [
                    {"path": "/" + "/".join(map(str, item["loc"])), "message": item["msg"]} for item in error.errors()
                ]
            told = "this is no decision" if details else f"this is no decision: {error}"
            self._write(Refused(stop=None, message=told, details=details))
            return
        await self._send(
            host,
            Decide(
                stop=asked.stop or next(iter(self.stops), ""),
                action="proceed" if asked.action == "continue" else asked.action,
                value=asked.value,
                edits=asked.edits,
                then=asked.then,
                to=to,
            ),
        )

    async def _ask(self, host: HostSession, request: Asked) -> None:
        try:
            answer = await host.debug(request)
            if not self.closed:
                self._write(answer)
        except RunRefused as refused:
            if self.closed:
                return
            stop = request.stop if isinstance(request, ContextGet | ContextEdit) else None
            self._write(Refused(stop=stop, message=str(refused), details=refused.details))
        except HostDied:
            await asyncio.Event().wait()  # whoever follows the run says so, and ends this

    async def _send(self, host: HostSession, decision: Decide) -> None:
        try:
            await host.debug(decision)
        except RunRefused as refused:
            if self.closed:
                self.stops.pop(decision.stop, None)
                return
            self._write(Refused(stop=decision.stop, message=str(refused), details=refused.details))
        except HostDied:
            await asyncio.Event().wait()  # whoever follows the run says so, and ends this
        else:
            self.stops.pop(decision.stop, None)

    def _write(self, frame: BaseModel) -> None:
        told = frame.model_dump(mode="json", exclude={"id", "reply_to"})
        self.console.json(told)
        self.console.flush()
