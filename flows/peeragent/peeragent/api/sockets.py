"""`/ws/business/{session}` and `/ws/agent/{session}`: conversations that outlive their connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError
from starlette.status import WS_1000_NORMAL_CLOSURE

from peeragent.api.access import Access, limited
from peeragent.api.bodies import SESSION_ID
from peeragent.api.errors import refusals, refuse, store_away
from peeragent.api.frames import AnswerData, ClientFrame, ServerType, TaskData, server_frame
from peeragent.errors import Refused
from peeragent.models.agents import MORE_EMOJI, PHASE_EMOJI, PHASES, Agent, BusinessAgentQuestions
from peeragent.models.tasks import SessionRecord, TaskRecord, new_id
from peeragent.orders import Order, Principal
from peeragent.service import Service
from peeragent.store.base import StoreUnavailable

router = APIRouter()

KEY_PROTOCOL = "peeragent.key."
"""`Sec-WebSocket-Protocol: peeragent.key.KEY`: how a page sends a key, which cannot set headers."""
MAX_PENDING = 8
"""Tasks that one conversation may have under way or waiting."""
MAX_UNSENT = 32
"""Frames that are kept for a client that is away."""
KEPT_S = 300.0
"""How long they are kept; what came of a task is in the store for longer."""
SEND_S = 10.0
"""A client that takes nothing for that long is gone."""


@dataclass
class Conversation:
    """A session with a socket, or with work whose outcome is still to be told."""

    session_id: str
    owner: str
    socket: WebSocket | None = None
    unsent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_UNSENT))
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    left: float = 0.0
    """When the last socket went, by the monotonic clock."""

    async def say(self, frame: dict[str, Any]) -> None:
        """Send it, or keep it for the next connection."""
        async with self.sending:
            socket = self.socket
            if socket is None:
                self.unsent.append(frame)
                return
            try:
                async with asyncio.timeout(SEND_S):
                    await socket.send_json(frame)
            except (RuntimeError, WebSocketDisconnect, TimeoutError):
                self.unsent.append(frame)
                if self.socket is socket:
                    self.socket = None

    async def catch_up(self) -> None:
        """Send what was kept."""
        kept, self.unsent = [*self.unsent], deque(maxlen=MAX_UNSENT)
        for frame in kept:
            await self.say(frame)


class Conversations:
    """All of this process."""

    def __init__(self, service: Service, most: int) -> None:
        self.service, self.most = service, most
        self._known: dict[tuple[str, str], Conversation] = {}

    @property
    def connected(self) -> list[Conversation]:
        """Those with a socket."""
        return [each for each in self._known.values() if each.socket is not None]

    async def join(self, kind: str, session_id: str, who: Principal, socket: WebSocket) -> Conversation:
        """The conversation of a session, on this socket from now on; one that had it before is closed."""
        known = self._known.get((kind, session_id))
        if known is None or known.owner != who.owner:
            known = self._known[kind, session_id] = Conversation(session_id, who.owner)
        before, known.socket = known.socket, socket
        if before is not None:
            with contextlib.suppress(RuntimeError):
                await before.close(WS_1000_NORMAL_CLOSURE, "the session went on elsewhere")
        return known

    def leave(self, kind: str, conversation: Conversation, socket: WebSocket) -> None:
        """The socket is gone; another that took its place stays."""
        if conversation.socket is socket:
            conversation.socket = None
            conversation.left = time.monotonic()
        self.forget(kind, conversation)

    def forget(self, kind: str, conversation: Conversation) -> None:
        """Forget a conversation that nothing is left of."""
        idle = conversation.socket is None and not conversation.tasks and not conversation.unsent
        if idle and self._known.get((kind, conversation.session_id)) is conversation:
            del self._known[kind, conversation.session_id]

    def sweep(self) -> None:
        """Forget what nobody came back for; called now and then. Outcomes stay in the store."""
        for (kind, _), conversation in [*self._known.items()]:
            away = time.monotonic() - conversation.left
            if conversation.socket is None and not conversation.tasks and away > KEPT_S:
                conversation.unsent.clear()
                self.forget(kind, conversation)

    async def close(self) -> None:
        """Close all sockets: the service stops."""
        for conversation in self.connected:
            if conversation.socket is not None:
                with contextlib.suppress(RuntimeError):
                    await conversation.socket.close(1001, "the service stops")


def conversations_of(socket: WebSocket) -> Conversations:
    """The application's."""
    found: Conversations = socket.app.state.conversations
    return found


@router.websocket("/ws/business/{session_id}")
async def business(socket: WebSocket, session_id: str) -> None:
    """The business agent's rounds: `task`, `answer`, `ping`."""
    await _serve(socket, session_id, "business", {"task": _business_task, "answer": _answer})


@router.websocket("/ws/agent/{session_id}")
async def agent(socket: WebSocket, session_id: str) -> None:
    """Any agent: `task`, `ping`; `answer` where an agent has asked."""
    await _serve(socket, session_id, "agent", {"task": _agent_task, "answer": _answer})


Reader = Callable[[dict[str, Any]], Order]


async def _serve(socket: WebSocket, session_id: str, kind: str, readers: dict[str, Reader]) -> None:
    conversations = conversations_of(socket)
    service = conversations.service
    try:
        who, protocol = _admit(socket)
        if re.fullmatch(SESSION_ID, session_id) is None:
            raise Refused("BAD_SESSION", "a session's name has letters, digits and ._:@-, 128 at most")
        session = await service.sessions.check(session_id, who.owner)
        if len(conversations.connected) >= conversations.most:
            raise Refused("TOO_MANY_CONNECTIONS", "no more sockets are taken now; try again later", 503)
    except StoreUnavailable as error:
        await socket.send_denial_response(store_away(error, debug=service.settings.debug))
        return
    except Refused as error:
        # Before it was accepted: nothing was opened.
        status = 503 if error.status == 503 else 403
        await socket.send_denial_response(refuse(error.code, error.message, status))
        return
    await socket.accept(protocol)
    conversation = await conversations.join(kind, session_id, who, socket)
    try:
        await _resume(conversation, session, kind)
        while True:
            await _read(socket, conversation, conversations, kind, who, readers)
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        conversations.leave(kind, conversation, socket)


def _admit(socket: WebSocket) -> tuple[Principal, str | None]:
    """Who it is, and the protocol to agree to. Raises `Refused`."""
    origin = socket.headers.get("origin")
    if origin is not None:
        allowed = socket.app.state.settings.cors_origins
        same = urlsplit(origin).netloc == socket.headers.get("host")
        if not same and origin not in allowed and "*" not in allowed:
            raise Refused("FOREIGN_ORIGIN", "pages of this origin may not connect", 403)
    offered = [each.strip() for each in socket.headers.get("sec-websocket-protocol", "").split(",")]
    protocol = next((each for each in offered if each.startswith(KEY_PROTOCOL)), None)
    access: Access = socket.app.state.access
    return access.principal(socket, protocol.removeprefix(KEY_PROTOCOL) if protocol else None), protocol


async def _resume(conversation: Conversation, session: SessionRecord, kind: str) -> None:
    """Where it stood: what the client has missed, else the questions that are open."""
    if conversation.unsent:
        await conversation.catch_up()
    elif kind == "business" and session.socratic is not None and session.socratic.waits:
        state = session.socratic
        phase = PHASES[min(len(state.rounds), len(PHASES) - 1)]
        asked = BusinessAgentQuestions(
            session_id=session.session_id,
            questions=state.asked,
            category=state.category or phase,
            phase=phase,
            phase_emoji=MORE_EMOJI if state.repeats else PHASE_EMOJI[phase],
            round_number=min(len(state.rounds) + 1, len(PHASES)),
        )
        await conversation.say(server_frame("questions", asked.model_dump(), session.session_id))


async def _read(
    socket: WebSocket,
    conversation: Conversation,
    conversations: Conversations,
    kind: str,
    who: Principal,
    readers: dict[str, Reader],
) -> None:
    """One frame. What is wrong with it is told; the connection stays."""

    async def say(type_: ServerType, data: dict[str, Any], task_id: str | None = None) -> None:
        await conversation.say(server_frame(type_, data, conversation.session_id, task_id))

    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text = message.get("text")
    try:
        frame = ClientFrame.model_validate_json(text if text is not None else message.get("bytes") or b"")
    except ValidationError as error:
        await say("error", {"error": f"not a frame: {_told(error)}", "code": "BAD_FRAME"})
        return
    if frame.type == "ping":
        await say("pong", {})
        return
    read = readers.get(frame.type)
    if read is None:
        known = ", ".join([*readers, "ping"])
        await say("error", {"error": f"unknown type {frame.type[:50]!r}; there are {known}", "code": "BAD_FRAME"})
        return
    access: Access = socket.app.state.access
    try:
        await access.count("execute", who, socket)
        order = read(frame.data)
        if len(conversation.tasks) >= MAX_PENDING:
            raise Refused("SESSION_BUSY", f"at most {MAX_PENDING} tasks of a conversation wait at once", 409)
    except ValidationError as error:
        await say("error", {"error": _told(error), "code": "BAD_FRAME"})
        return
    except (Refused, StoreUnavailable) as error:
        await say("error", _refusal(error))
        return
    task_id = new_id("ws-task")
    await say("ack", {"message": "received", "task_id": task_id}, task_id)
    given = Order(
        task=order.task,
        session_id=conversation.session_id,
        agent=order.agent,
        kind=order.kind,
        context=order.context,
        answers=order.answers,
        task_id=task_id,
    )
    doing = asyncio.create_task(_do(conversations.service, who, given, say), name=f"peeragent socket {task_id}")
    conversation.tasks.add(doing)

    def over(done: asyncio.Task[None]) -> None:
        conversation.tasks.discard(done)
        conversations.forget(kind, conversation)

    doing.add_done_callback(over)


async def _do(service: Service, who: Principal, order: Order, say: Callable[..., Awaitable[None]]) -> None:
    try:
        task = await service.execute(who, order)
    except (Refused, StoreUnavailable) as error:
        await say("error", _refusal(error), order.task_id)
        return
    await _say_outcome(task, order, say)


async def _say_outcome(task: TaskRecord, order: Order, say: Callable[..., Awaitable[None]]) -> None:
    if task.error is not None:
        await say("error", task.error.model_dump(), order.task_id)
        return
    result = task.result or {}
    told = {name: result.get(name) for name in ("agent_type", "type", "data")}
    if task.agent_type == Agent.BUSINESS.agent_type:
        kind = "questions" if result.get("type") == "questions" else "diagnosis"
        await say(kind, result.get("data") or {}, order.task_id)
    else:
        await say("result", told, order.task_id)


def _business_task(data: dict[str, Any]) -> Order:
    given = TaskData.model_validate(data)
    return _order(given, Agent.BUSINESS)


def _agent_task(data: dict[str, Any]) -> Order:
    given = TaskData.model_validate(data)
    if given.agent_type is None:
        return _order(given, None)
    try:
        return _order(given, Agent(given.agent_type))
    except ValueError:
        raise Refused("INVALID_AGENT_TYPE", f"there is no such agent; there are {', '.join(Agent)}") from None


def _order(given: TaskData, agent: Agent | None) -> Order:
    if not given.task.strip():
        raise Refused("EMPTY_TASK", "the task is blank")
    return Order(task=given.task, agent=agent, kind="direct" if agent else "execute", context=given.context)


def _answer(data: dict[str, Any]) -> Order:
    answers = {name: text for name, text in AnswerData.model_validate(data).answers.items() if text.strip()}
    if not answers:
        raise Refused("EMPTY_ANSWERS", "there are no answers")
    return Order(task="", agent=Agent.BUSINESS, kind="continue", answers=answers)


def _refusal(error: Refused | StoreUnavailable) -> dict[str, Any]:
    if isinstance(error, Refused):
        return {"error": error.message, "code": error.code}
    return {"error": "the store of tasks does not answer; try again in a moment", "code": "STORAGE_ERROR"}


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    at = ".".join(map(str, first["loc"]))
    return f"{at + ': ' if at else ''}{first['msg']}"


class Connections(BaseModel):
    """Who is connected."""

    active_connections: int
    sessions: list[str]


@router.get("/ws/connections", tags=["service"], response_model=Connections, responses=refusals(403))
async def connections(request: Request, who: Annotated[Principal, limited("default")]) -> Connections:
    """The sessions with a socket; for admins."""
    if not who.admin:
        raise Refused("FORBIDDEN", "this needs an admin's key", 403)
    found = [each.session_id for each in request.app.state.conversations.connected]
    return Connections(active_connections=len(found), sessions=found)
