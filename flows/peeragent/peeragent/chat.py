"""A conversation in the terminal, over HTTP: answers come as they are written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx

TIMEOUT_S = 30.0
WHOLE = frozenset({"code", "content", "translation"})
"""Types of results that are said whole while they are written; of others it is a part."""
HELP = "/new begins a new conversation, /agent NAME talks to one agent (none: the router decides), /quit ends."


class ChatError(Exception):
    """The conversation cannot go on."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Chat:
    """Reads lines from stdin, writes answers to stdout."""

    def __init__(self, url: str, session: str | None, key_file: str | None, agent: str | None = None) -> None:
        headers = {}
        if key_file is not None:
            headers["Authorization"] = f"Bearer {_key(key_file)}"
        self._url = url.rstrip("/")
        self._session = session or f"chat-{uuid4().hex}"
        self._agent = agent
        self._questions: list[str] = []
        self._agents = ""
        """Where their routes begin."""
        self._lines = Lines(sys.stdin.fileno())
        self._client = httpx.AsyncClient(
            base_url=self._url, headers=headers, timeout=httpx.Timeout(TIMEOUT_S, read=None)
        )

    async def run(self) -> None:
        """Until the end of stdin, or `/quit`. Raises `ChatError`."""
        async with self._client:
            about = await self._ask("GET", "/") or {}
            if "api_prefix" not in about:
                raise ChatError(f"{self._url} is no PeerAgent", 6)
            self._agents = f"{about['api_prefix']}/agent"
            self._say(f"PeerAgent at {self._url}, session {self._session}. {HELP}\n")
            while True:
                self._prompt()
                line = await self._lines.next()
                if line is None:
                    self._say("\n" if sys.stdin.isatty() else "")
                    return
                if line == "/quit":
                    return
                if line.startswith("/"):
                    self._command(line)
                elif line:
                    await self._turn(line)

    def _prompt(self) -> None:
        if sys.stdin.isatty():
            self._say("answer> " if self._questions else "> ")

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if name == "/new":
            self._session, self._questions = f"chat-{uuid4().hex}", []
            self._say(f"session {self._session}\n")
        elif name == "/agent":
            self._agent = rest.strip() or None
            self._say(f"{self._agent or 'the router'} is asked from now on\n")
        else:
            self._say(HELP + "\n")

    async def _turn(self, line: str) -> None:
        if self._questions:
            answers = {"session_id": self._session, "answers": dict.fromkeys(self._questions, line)}
            answer = await self._ask("POST", f"{self._agents}/business/continue", answers)
            if answer is not None:
                self._questions = []
                self._show(answer)
            return
        body = {"task": line, "session_id": self._session}
        if self._agent is not None:
            body["agent_type"] = self._agent
        said = ""
        async for event in self._stream(body):
            if event.get("event") == "classification":
                self._say(f"[{event.get('agent')}]\n")
            elif event.get("restart"):
                said = ""
                self._say("\n[again]\n")
            elif "content" in event:
                said += event["content"]
                self._say(event["content"])
            elif event.get("error"):
                self._say(f"\npeeragent: {event['error']} ({event.get('code')})\n")
            elif event.get("done"):
                self._end(event.get("result") or {}, said)

    def _end(self, result: dict[str, Any], said: str) -> None:
        """What there is beside what was said already."""
        if said and result.get("type") in WHOLE:
            self._say("\n" + _sources(result.get("data") or {}))
            return
        self._say("\n" if said else "")
        self._show(result, said)

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            async with self._client.stream("POST", f"{self._agents}/execute/stream", json=body) as answer:
                if not answer.is_success:
                    await answer.aread()
                    self._refused(answer)
                    return
                ended = False
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        event = json.loads(line[5:])
                        ended = bool(event.get("done"))
                        yield event
                if not ended:
                    raise httpx.RemoteProtocolError("the stream ended before the answer did")
        except httpx.HTTPError as error:
            raise ChatError(
                f"{self._url} is gone ({type(error).__name__}); the session is {self._session}", 6
            ) from None

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        try:
            answer = await self._client.request(method, path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ChatError(
                f"{self._url} does not answer ({type(error).__name__}): start it with `peeragent serve`, or name it "
                "with --url",
                6,
            ) from None
        if answer.is_success:
            with contextlib.suppress(ValueError):
                if isinstance(found := answer.json(), dict):
                    return found
            raise ChatError(f"{self._url} is no PeerAgent", 6)
        self._refused(answer)
        return None

    def _refused(self, answer: httpx.Response) -> None:
        try:
            told = answer.json()
        except ValueError:
            told = None
        detail = told.get("detail", told) if isinstance(told, dict) else None
        why = detail.get("error") if isinstance(detail, dict) else detail
        if answer.status_code == 401:
            raise ChatError(f"{self._url} needs a key that it knows: name a file that holds it with --key-file")
        if isinstance(detail, dict) and detail.get("code") == "NO_OPEN_QUESTIONS":
            self._questions = []
        self._say(f"peeragent: {why or f'HTTP {answer.status_code}'}\n")

    def _show(self, result: dict[str, Any], said: str = "") -> None:
        data = result.get("data") or {}
        if result.get("type") == "questions":
            self._questions = list(data["questions"])
            if data.get("feedback"):
                self._say(f"{data['feedback']}\n")
            self._say(f"{data.get('phase_emoji', '')} Round {data.get('round_number')}/3\n")
            for number, question in enumerate(self._questions, 1):
                self._say(f"  {number}. {question}\n")
            return
        for name, value in data.items():
            if name not in {"diagnosis", "type", "full_email"} and value and value != said:
                self._say(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n")

    def _say(self, text: str) -> None:
        sys.stdout.write(plain(text))
        sys.stdout.flush()


def plain(text: str) -> str:
    """Without what a terminal acts upon: models, documents and servers may say escape sequences; none reaches it."""
    return "".join(each for each in text if each in "\n\t" or each.isprintable())


class Lines:
    """Lines of a terminal, a pipe or a file. A wait for one can be given up."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._read = b""
        self._ended = False

    async def next(self) -> str | None:
        """The next line, without the spaces around it; None at the end."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._read and not self._ended:
            piece: asyncio.Future[bytes] = loop.create_future()
            # A thread of its own, for which nobody waits at the end: it hangs until somebody types.
            Thread(target=self._wait, args=(loop, piece), daemon=True).start()
            self._read += (got := await piece)
            self._ended = not got
        line, _, self._read = self._read.partition(b"\n")
        return None if self._ended and not line else line.decode(errors="replace").strip()

    def _wait(self, loop: asyncio.AbstractEventLoop, piece: asyncio.Future[bytes]) -> None:
        try:
            got = os.read(self._file, 65536)
        except OSError:  # the terminal is gone
            got = b""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_give, piece, got)


def _give(piece: asyncio.Future[bytes], got: bytes) -> None:
    if not piece.done():
        piece.set_result(got)


def _key(file: str) -> str:
    try:
        key = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ChatError(f"cannot read the key: {error}", 3) from None
    if not key.isascii() or not key.isprintable():
        raise ChatError(f"{file} holds no key: a key is one line of plain characters")
    return key


def _sources(data: dict[str, Any]) -> str:
    return "".join(f"  {source}\n" for source in data.get("sources") or ())
