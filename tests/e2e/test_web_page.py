"""`pf web` in a real browser: `pytest -m chromium`, where Chromium is installed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection

from tests.chromium import LIMIT_S, Tab, chromium

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow

pytestmark = pytest.mark.chromium

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
SAYS = "document.readyState === 'complete' && document.body.innerText"


class Page(Tab):
    """A page with a terminal in it."""

    domains = ("Runtime", "Network")

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(socket)
        self.drawn = ""
        """What was sent to the terminal in the page, without escape sequences."""

    def told(self, event: dict[str, Any]) -> None:
        """Note what the terminal gets."""
        if event["method"] == "Network.webSocketFrameReceived":
            frame = event["params"]["response"]
            if frame["opcode"] == 2:
                self.drawn += ESCAPES.sub("", base64.b64decode(frame["payloadData"]).decode("utf-8", "replace"))

    async def open(self, url: str) -> str:
        """Go to an address; gives what the page says."""
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(LIMIT_S):
            while True:
                # While a page gives way to another one there is nowhere to ask.
                told = await self.call("Runtime.evaluate", expression=SAYS, returnByValue=True)
                if isinstance(said := told["result"].get("value"), str):
                    return said
                await asyncio.sleep(0.02)

    async def until_drawn(self, *needles: str) -> None:
        """Wait until all of these were sent to the terminal in the page."""
        async with asyncio.timeout(LIMIT_S):
            while not all(needle in self.drawn for needle in needles):
                await self.run("1")
                await asyncio.sleep(0.02)

    async def press(self, key: str) -> None:
        """Press and release a key, as somebody who has clicked nowhere."""
        await self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)


@pytest.fixture
def link(project: Path, add_flow: AddFlow) -> Iterator[str]:
    """The link of a `pf web`."""
    add_flow("greet")
    process = subprocess.Popen(
        [sys.executable, "-m", "playground", "web", "--json"],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], LIMIT_S)[0], "no link was printed"
        yield str(json.loads(process.stdout.readline())["link"])
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


class _Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>foreign</title>a page of somebody else")

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def foreign() -> Iterator[str]:
    """A page of another origin; it is on this machine too, where cookies do not tell ports apart."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Foreign)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


async def test_the_link_opens_a_terminal_that_takes_keys(link: str, tmp_path: Path) -> None:
    async with chromium(tmp_path / "chrome", Page) as page:
        await page.open(link)
        await page.until_drawn("penguiflow", "FLOWS", "greet", "ready")
        # The code that was good once is in the address no longer.
        assert "code" not in await page.run("location.href")
        before = await page.picture()
        page.drawn = ""
        await page.press("?")
        await page.until_drawn("Flows of the project")
        async with asyncio.timeout(LIMIT_S):
            while await page.picture() == before:  # noqa: ASYNC110 - another process draws
                await asyncio.sleep(0.05)
        (tmp_path / "page.png").write_bytes(await page.picture())


async def test_a_wrong_token_and_none_are_refused(link: str, tmp_path: Path) -> None:
    base = link.partition("?")[0]
    async with chromium(tmp_path / "chrome", Page) as page:
        assert "open the link that `pf web` has printed" in await page.open(base)
        assert "this link was used, or is none" in await page.open(f"{base}?code=wrong")
        assert "open the link that `pf web` has printed" in await page.open(base)
        assert page.drawn == ""


async def test_a_page_of_another_origin_cannot_open_its_socket(link: str, foreign: str, tmp_path: Path) -> None:
    address = f"ws://{urlsplit(link).netloc}/ws?width=80&height=24"
    attempt = f"""new Promise(done => {{
        const socket = new WebSocket({json.dumps(address)});
        socket.onopen = () => done("open");
        socket.onerror = () => done("refused");
    }})"""
    async with chromium(tmp_path / "chrome", Page) as page:
        # The browser has the cookie by now, and could send it.
        await page.open(link)
        await page.until_drawn("ready")
        assert await page.run(attempt) == "open"
        assert "a page of somebody else" in await page.open(foreign)
        assert await page.run(attempt) == "refused"
        read = f"fetch({json.dumps(link.partition('?')[0])}, {{credentials: 'include'}}).then(() => 'read', () => 'no')"
        assert await page.run(read) == "no"
