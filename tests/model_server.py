"""A server that speaks OpenAI's chat completions over real sockets, and says what a test tells it to.

Loaded by `tests/conftest.py`: the fixture `openai_server` is there for every test.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio

__all__ = ["Asked", "ModelServer", "Said"]

MODEL = "local-1"
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What is answered to one request."""

    text: str = ""
    reasoning: str = ""
    calls: Sequence[tuple[str, str, str]] = ()
    """`(id, name, arguments)`, the arguments as JSON."""
    pieces: int = 4
    """Characters of each piece of a stream; UTF-16 units where `escaped`."""
    escaped: bool = False
    """Everything beyond ASCII as `\\uXXXX`, and characters beyond U+FFFF cut in two over pieces."""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: dict(USAGE))
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    """The message that goes with a status other than 200."""
    raw: bytes | None = None
    """The body, instead of all that."""
    cut_after: int | None = None
    """Pieces after which the connection is cut."""
    hold: asyncio.Event | None = None
    """Waited for before anything is said; a client that goes away ends the wait."""
    hold_after: int | None = None
    """Pieces after which `hold` is waited for, instead of before the first."""


Script = Said | str | Callable[[Asked], Said]


class ModelServer:
    """Answers from a script, and when that is used up by `otherwise`."""

    def __init__(self) -> None:
        self.script: deque[Script] = deque()
        self.otherwise: Script = "That is all."
        self.asked: list[Asked] = []
        self.open = 0
        """Connections that are open now."""
        self.gone = asyncio.Event()
        """Set when a client goes away in the middle of an answer."""
        self.waiting = asyncio.Event()
        """Set when an answer is held."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it is, as clients take it."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def say(self, *script: Script) -> None:
        """Answer the next requests so."""
        self.script.extend(script)

    async def start(self) -> None:
        """Listen on a port that is free."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1000)

    async def stop(self) -> None:
        """Close every connection."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            self.open -= 1
            writer.close()
            try:
                async with asyncio.timeout(1):
                    await writer.wait_closed()
            except (TimeoutError, OSError):
                writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
        if not head:
            return False
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
        asked = Asked(lines[0].split(" ")[1], headers, body)
        self.asked.append(asked)
        said = self.script.popleft() if self.script else self.otherwise
        said = said(asked) if callable(said) else said
        said = Said(text=said) if isinstance(said, str) else said
        if said.hold is not None and said.hold_after is None and not await self._held(said.hold, reader):
            return False
        streamed = bool(body.get("stream")) and said.status == 200 and said.raw is None
        if streamed:
            return await self._stream(said, asked, reader, writer)
        data = said.raw if said.raw is not None else _whole(said)
        if said.cut_after is not None:
            data, length = data[: said.cut_after], len(data)
        else:
            length = len(data)
        kind = "text/event-stream" if body.get("stream") and said.raw is not None else "application/json"
        writer.write(_head(said, {"content-type": kind, "content-length": str(length)}) + data)
        await writer.drain()
        return said.cut_after is None

    async def _stream(
        self, said: Said, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(_head(said, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
        wants_usage = bool((asked.body.get("stream_options") or {}).get("include_usage"))
        for place, event in enumerate(_events(said, wants_usage=wants_usage)):
            if said.cut_after == place:
                await writer.drain()
                return False
            if said.hold is not None and said.hold_after == place:
                await writer.drain()
                if not await self._held(said.hold, reader):
                    return False
            data = f"data: {event}\n\n".encode()
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _held(self, hold: asyncio.Event, reader: asyncio.StreamReader) -> bool:
        """Wait until it is let go (True) or the client is gone."""
        self.waiting.set()
        let_go, left = asyncio.ensure_future(hold.wait()), asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({let_go, left}, return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                self.gone.set()
            return not left.done()
        finally:
            for task in (let_go, left):
                task.cancel()
            await asyncio.gather(let_go, left, return_exceptions=True)


def _head(said: Said, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {said.status} Told",
        *(f"{name}: {value}" for name, value in {**headers, **said.headers}.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _whole(said: Said) -> bytes:
    if said.status != 200:
        return json.dumps({"error": {"message": said.error or "told to", "type": "told", "code": None}}).encode()
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if said.calls:
        message["tool_calls"] = [
            {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
            for identity, name, arguments in said.calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if said.calls else "stop"}
    answer = {**_about("chat.completion"), "choices": [choice]}
    if said.usage is not None:
        answer["usage"] = dict(said.usage)
    return json.dumps(answer, ensure_ascii=said.escaped).encode()


def _events(said: Said, *, wants_usage: bool) -> Iterable[str]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in _cut(said.reasoning, said)]
    deltas += [{"content": piece} for piece in _cut(said.text, said)]
    for index, (identity, name, arguments) in enumerate(said.calls):
        first = {"index": index, "id": identity, "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in _cut(arguments, said)
        ]
    for delta in deltas:
        yield _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, said)
    finished = "tool_calls" if said.calls else "stop"
    yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": finished}]}, said)
    if wants_usage and said.usage is not None:
        yield _event({"choices": [], "usage": dict(said.usage)}, said)
    yield "[DONE]"


def _event(data: Mapping[str, Any], said: Said) -> str:
    return json.dumps({**_about("chat.completion.chunk"), **data}, ensure_ascii=said.escaped)


def _about(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": MODEL}


def _cut(text: str, said: Said) -> list[str]:
    if not said.escaped:
        return [text[start : start + said.pieces] for start in range(0, len(text), said.pieces)]
    units = text.encode("utf-16-le", "surrogatepass")
    step = said.pieces * 2
    return [units[start : start + step].decode("utf-16-le", "surrogatepass") for start in range(0, len(units), step)]


@pytest_asyncio.fixture
async def openai_server() -> AsyncIterator[ModelServer]:
    """A server on the loopback that speaks chat completions; `say` tells it what."""
    server = ModelServer()
    await server.start()
    yield server
    await server.stop()
