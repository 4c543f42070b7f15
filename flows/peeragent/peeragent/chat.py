"""A conversation in the terminal, over HTTP: answers come as they are written."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

TIMEOUT_S = 30.0
HELP = "/new begins a new conversation, /agent NAME talks to one agent (none: the router decides), /quit ends."


class ChatError(Exception):
    """The conversation cannot go on."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Chat:
    """Reads lines from stdin, writes answers to stdout."""

    def __init__(self, url: str, session: str | None, key_file: str | None) -> None:
        headers = {}
        if key_file is not None:
            try:
                headers["Authorization"] = f"Bearer {Path(key_file).read_text().strip()}"
            except OSError as error:
                raise ChatError(f"cannot read the key: {error}", 3) from None
        self._url = url.rstrip("/")
        self._session = session or f"chat-{uuid4().hex}"
        self._agent: str | None = None
        self._questions: list[str] = []
        self._client = httpx.AsyncClient(
            base_url=self._url, headers=headers, timeout=httpx.Timeout(TIMEOUT_S, read=None)
        )

    async def run(self) -> None:
        """Until the end of stdin, or `/quit`. Raises `ChatError`."""
        async with self._client:
            await self._ask("GET", "/ping")
            self._say(f"PeerAgent at {self._url}, session {self._session}. {HELP}\n")
            while True:
                line = await asyncio.to_thread(self._read)
                if line is None or line == "/quit":
                    return
                if line.startswith("/"):
                    self._command(line)
                elif line:
                    await self._turn(line)

    def _read(self) -> str | None:
        if sys.stdin.isatty():
            sys.stdout.write("answer> " if self._questions else "> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        return line.strip() if line else None

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
            body = {"session_id": self._session, "answers": dict.fromkeys(self._questions, line)}
            self._questions = []
            answer = await self._ask("POST", "/v1/agent/business/continue", body)
            if answer is not None:
                self._show(answer)
            return
        body = {"task": line, "session_id": self._session}
        if self._agent is not None:
            answer = await self._ask("POST", f"/v1/agent/execute/direct/{self._agent}", body)
            if answer is not None:
                self._show(answer)
            return
        said = False
        async for event in self._stream(body):
            if event.get("event") == "classification":
                self._say(f"[{event.get('agent')}]\n")
            elif event.get("restart"):
                self._say("\n[again]\n")
            elif "content" in event:
                said = True
                self._say(event["content"])
            elif event.get("error"):
                self._say(f"\npeeragent: {event['error']} ({event.get('code')})\n")
            elif event.get("done"):
                result = event.get("result") or {}
                if not said or result.get("type") in {"questions", "full_analysis"}:
                    self._show(result)
                else:
                    self._say("\n" + _sources(result.get("data") or {}))

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            async with self._client.stream("POST", "/v1/agent/execute/stream", json=body) as answer:
                if not answer.is_success:
                    await answer.aread()
                    self._refused(answer)
                    return
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        yield json.loads(line[5:])
        except httpx.HTTPError as error:
            raise ChatError(f"{self._url}: {type(error).__name__}: {error}", 6) from None

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
            found: dict[str, Any] = answer.json()
            return found
        self._refused(answer)
        return None

    def _refused(self, answer: httpx.Response) -> None:
        try:
            told = answer.json()
        except ValueError:
            told = {}
        detail = told.get("detail", told)
        why = detail.get("error", told.get("error")) if isinstance(detail, dict) else detail
        if answer.status_code == 401:
            raise ChatError(f"{why}; name a file with the key: --key-file")
        self._say(f"peeragent: {why or f'HTTP {answer.status_code}'}\n")

    def _show(self, result: dict[str, Any]) -> None:
        data = result.get("data") or {}
        if result.get("type") == "questions":
            self._questions = list(data["questions"])
            if data.get("feedback"):
                self._say(f"{data['feedback']}\n")
            self._say(f"{data['phase_emoji']} Round {data['round_number']}/3\n")
            for number, question in enumerate(self._questions, 1):
                self._say(f"  {number}. {question}\n")
            return
        for name, value in data.items():
            if name not in {"diagnosis", "type"} and value:
                self._say(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n")

    def _say(self, text: str) -> None:
        # What models and documents say may hold escape sequences; none reaches the terminal.
        sys.stdout.write("".join(each for each in text if each in "\n\t" or each.isprintable()))
        sys.stdout.flush()


def _sources(data: dict[str, Any]) -> str:
    return "".join(f"  {source}\n" for source in data.get("sources") or ())
