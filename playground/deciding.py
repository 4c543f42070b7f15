"""A live source's side of debugging: which runs of which worker have stopped, what they ask, and what is asked of them.

Workers number their stops each for itself. Clients of a source see `3:stop-1`, with the generation in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playground.breakpoints import Breakpoint
from playground.protocol import (
    Accepted,
    Answer,
    BaseFrame,
    Breakpoints,
    Context,
    ContextEdit,
    ContextGet,
    Decide,
    Error,
    Kv,
    KvEdit,
    KvGet,
    LettersEdit,
    Memory,
    MemoryEdit,
    MemoryGet,
    Question,
    Questions,
    Queues,
    QueuesGet,
    Resumed,
    Stopped,
)
from playground.sources import Inbox, RunRefused
from playground.supervisor.client import Connection, ConnectionLost

__all__ = ["Deciding"]


class Deciding:
    """Names stops, keeps which there are, and asks the worker that has one."""

    def __init__(self, inbox: Inbox, connections: Mapping[int, Connection], *, attends: bool = True) -> None:
        """`connections` has a connection for each generation that serves; whoever owns it changes it.

        Runs stop only while it `attends`.
        """
        self.attends = attends
        self._inbox = inbox
        self._connections = connections
        self._stops: dict[str, Stopped] = {}
        self._questions: dict[int, list[Question]] = {}
        """Open ones, by generation."""

    # -- what workers tell --------------------------------------------------------------------------------------------

    async def attend(self, generation: int) -> None:
        """Ask a worker for its breakpoints; while this attends, it stops runs from then on."""
        connection = self._connections.get(generation)
        if connection is None:
            return
        try:
            answer = await connection.request(Breakpoints(look=not self.attends))
        except ConnectionLost:
            return
        if isinstance(answer, Breakpoints):
            self._inbox.breakpoints = answer
        try:
            open_ones = await connection.request(Questions(look=not self.attends))
        except ConnectionLost:
            return
        if isinstance(open_ones, Questions):
            self.take(open_ones, generation)

    def take(self, frame: BaseFrame, generation: int) -> None:
        """A frame of a worker that may be about stopped runs."""
        if isinstance(frame, Stopped):
            named = frame.model_copy(update={"stop": f"{generation}:{frame.stop}"})
            self._stops[named.stop] = named
            self._inbox.stops.append(named)
        elif isinstance(frame, Resumed):
            name = f"{generation}:{frame.stop}"
            self._stops.pop(name, None)
            self._inbox.stops.append(frame.model_copy(update={"stop": name}))
        elif isinstance(frame, Breakpoints):
            self._inbox.breakpoints = frame
        elif isinstance(frame, Questions):
            self._questions[generation] = frame.questions
            self._tell_questions()

    def trace_over(self, trace_id: str) -> None:
        """A run has ended: nothing of it is stopped."""
        self._gone([stop for stop in self._stops.values() if stop.trace_id == trace_id])

    def worker_gone(self, generation: int) -> None:
        """A worker has died, and its runs with it."""
        self._gone([stop for name, stop in self._stops.items() if name.startswith(f"{generation}:")])
        if self._questions.pop(generation, None):
            self._tell_questions()

    def _tell_questions(self) -> None:
        found = [question for _, questions in sorted(self._questions.items()) for question in questions]
        self._inbox.questions = Questions(questions=found)

    def _gone(self, stops: list[Stopped]) -> None:
        for stop in stops:
            del self._stops[stop.stop]
            self._inbox.stops.append(Resumed(stop=stop.stop, trace_id=stop.trace_id, action="gone"))

    async def attend_all(self, attends: bool) -> None:
        """Have runs stop from now on, or not any more."""
        self.attends = attends
        for number in sorted(self._connections):
            await self.attend(number)

    # -- what a dashboard asks ----------------------------------------------------------------------------------------

    async def set_breakpoints(self, put: list[Breakpoint], remove: list[str]) -> Breakpoints:
        """Change the project's breakpoints. Raises `RunRefused` when no worker is there, or it will not."""
        generations = sorted(self._connections, reverse=True)
        if not generations:
            raise RunRefused("no host is there to stop at breakpoints")
        first, *others = generations
        request = Breakpoints(put=put, remove=remove, look=not (self.attends or put or remove))
        answer = await self._request(self._connections[first], request)
        if not isinstance(answer, Breakpoints):
            raise RunRefused("the host did not say which breakpoints there are")
        self._inbox.breakpoints = answer
        for number in others:  # they read the file again
            await self.attend(number)
        return answer

    async def decide(self, request: Decide) -> None:
        """Let a stopped run go on. Raises `RunRefused`; its details name the fields."""
        await self._ask_about(request, request.stop)

    async def answer(self, request: Answer) -> None:
        """Answer a question of a run. Raises `RunRefused`: it was answered, or the answer does not fit."""
        for generation, questions in self._questions.items():
            if any(question.question == request.question for question in questions):
                await self._request(self._connections[generation], request)
                return
        raise RunRefused("this question is not open any more", code="not_found")

    async def context(self, request: ContextGet | ContextEdit) -> Context:
        """What is around a stopped run, after a change if one is asked for. Raises `RunRefused`."""
        answer = await self._ask_about(request, request.stop)
        assert isinstance(answer, Context)
        return answer.model_copy(update={"stop": request.stop})

    async def memory(self, request: MemoryGet | MemoryEdit, *, stop: str | None = None) -> Memory:
        """What planners remember, after a change if one is asked for; that of a stopped run, or of the newest code.

        Raises `RunRefused`.
        """
        answer = await self._request(self._of_stop(stop), request)
        assert isinstance(answer, Memory)
        return answer

    async def kv(self, request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        """What tools keep, after a change if one is asked for; asked of the host of a stopped run, or of the newest.

        Raises `RunRefused`.
        """
        answer = await self._request(self._of_stop(stop), request)
        assert isinstance(answer, Kv)
        return answer

    async def queues(self, request: QueuesGet | LettersEdit) -> Queues:
        """The edges of a flow, after a change of its dead letters if one is asked for. Raises `RunRefused`."""
        answer = await self._request(self._of_stop(None), request)
        assert isinstance(answer, Queues)
        return answer

    def _of_stop(self, stop: str | None) -> Connection:
        """The host of a stopped run; without one the newest."""
        number = max(self._connections, default=0) if stop is None else _parts(stop)[0]
        connection = self._connections.get(number)
        if connection is None:
            raise RunRefused("no host is there that could be asked")
        return connection

    async def relay(self, request: BaseFrame, generation: int | None) -> BaseFrame:
        """Any request, with what answers it: asked of the worker that has its stop, else of this one, or the newest.

        Raises `RunRefused`.
        """
        stop = getattr(request, "stop", None)
        number, name = _parts(stop) if stop is not None else (generation, None)
        connection = self._connections.get(max(self._connections, default=0) if number is None else number)
        if connection is None:
            raise RunRefused("the host of this run is gone", code="not_found")
        answer: BaseFrame = await self._request(connection, request.model_copy(update={"stop": name} if name else {}))
        if name is not None and hasattr(answer, "stop"):
            answer = answer.model_copy(update={"stop": stop})
        return answer

    async def halt(self, connection: Connection | None, request: BaseFrame) -> bool:
        """Stop a run at its next checkpoint; False when it is over."""
        if connection is None:
            return False
        try:
            return isinstance(await connection.request(request), Accepted)
        except ConnectionLost:
            return False

    async def _ask_about(self, request: Decide | ContextGet | ContextEdit, stop: str) -> Any:
        number, name = _parts(stop)
        connection = self._connections.get(number)
        if connection is None:
            raise RunRefused("the host of this run is gone")
        return await self._request(connection, request.model_copy(update={"stop": name}))

    async def _request(self, connection: Connection, request: BaseFrame) -> Any:
        try:
            answer = await connection.request(request)
        except ConnectionLost as error:
            raise RunRefused(str(error)) from None
        if isinstance(answer, Error):
            raise RunRefused(answer.message, answer.details, code=answer.code)
        return answer


def _parts(stop: str) -> tuple[int, str]:
    """Generation and name of a stop. Raises `RunRefused` for what no source has named."""
    number, _, name = stop.partition(":")
    if not number.isdigit() or not name:
        raise RunRefused(f"{stop!r} is no stopped run")
    return int(number), name
