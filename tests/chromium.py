"""A headless Chromium for tests that are marked `chromium`, and a tab of it."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect

LIMIT_S = 60.0
POLL_S = 0.02
_COMMAND = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--window-size=1200,800")

T = TypeVar("T", bound="Tab")


class Tab:
    """A tab of a browser, over the DevTools protocol."""

    domains: tuple[str, ...] = ("Runtime",)
    """What it is told of."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls = 0

    def told(self, event: dict[str, Any]) -> None:
        """Something happened in the tab."""

    async def call(self, method: str, **about: Any) -> dict[str, Any]:
        """A command, and what it gives."""
        self._calls += 1
        await self._socket.send(json.dumps({"id": self._calls, "method": method, "params": about}))
        while True:
            told: dict[str, Any] = json.loads(await self._socket.recv())
            if "method" in told:
                self.told(told)
            if told.get("id") == self._calls:
                assert "error" not in told, told
                found: dict[str, Any] = told["result"]
                return found

    async def run(self, script: str) -> Any:
        """The value of an expression."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def picture(self) -> bytes:
        """What it looks like, as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def chromium(folder: Path, kind: type[T]) -> AsyncIterator[T]:
    """A browser that keeps its things in a folder, with an empty tab."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program is not None, "Chromium is not installed: `apt-get install chromium`"
    started = [program, *_COMMAND, f"--user-data-dir={folder}", "about:blank"]
    process = await asyncio.create_subprocess_exec(*started, stderr=asyncio.subprocess.DEVNULL)
    try:
        port_file = folder / "DevToolsActivePort"
        async with asyncio.timeout(LIMIT_S):
            while not (port_file.exists() and port_file.read_text()):  # noqa: ASYNC110 - another process
                await asyncio.sleep(POLL_S)
        port = port_file.read_text().splitlines()[0]
        async with httpx.AsyncClient() as client:
            tabs = (await client.get(f"http://127.0.0.1:{port}/json")).json()
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        async with connect(address, max_size=None) as socket:
            tab = kind(socket)
            for domain in tab.domains:
                await tab.call(f"{domain}.enable")
            yield tab
    finally:
        process.kill()
        await process.wait()
