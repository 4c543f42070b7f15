"""The page in a real browser: `pytest -m chromium`, where Chromium is installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.chromium import Tab, chromium

pytestmark = pytest.mark.chromium

GOOD = "It began three months ago in the north, costs $2M a year and is our top priority"


class Browser(Tab):
    """The page of a conversation."""

    domains = ("Log", "Runtime")

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(socket)
        self.complaints: list[str] = []

    def told(self, event: dict[str, Any]) -> None:
        """Note what the page has to complain of."""
        if event["method"] in {"Log.entryAdded", "Runtime.exceptionThrown"}:
            entry = event["params"].get("entry", {})
            if entry.get("level", "error") == "error":
                self.complaints.append(json.dumps(event["params"]))

    async def until(self, script: str) -> None:
        """Return when an expression is true."""
        async with asyncio.timeout(60):
            while not await self.run(script):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)

    async def send(self, text: str) -> str:
        """Type a message, send it, and give the answer's text."""
        count = await self.run("document.querySelectorAll('article.theirs').length")
        await self.run(f"document.getElementById('text').value = {json.dumps(text)}")
        await self.run("document.getElementById('ask').requestSubmit()")
        await self.until(
            f"document.querySelectorAll('article.theirs').length > {count} && !document.getElementById('send').disabled"
        )
        answer: str = await self.run("[...document.querySelectorAll('article.theirs')].at(-1).innerText")
        return answer


@asynccontextmanager
async def browser(url: str, folder: Path) -> AsyncIterator[Browser]:
    """A browser that shows the page."""
    async with chromium(folder, Browser) as tab:
        await tab.call("Page.navigate", url=url)
        await tab.until("document.readyState === 'complete' && !!document.querySelector('#examples button')")
        yield tab


async def test_code_rounds_and_tree_in_a_browser(service: Any, tmp_path: Path) -> None:
    async with browser(f"{service.url}/chat/", tmp_path / "chrome") as tab:
        assert "SELECT" in await tab.send("Write a SQL query to find top 10 customers by revenue")
        for number in (1, 2, 3):
            asked = await tab.send("Our sales dropped 20% this quarter" if number == 1 else GOOD)
            assert f"Round {number}/3" in asked
        found = await tab.send(GOOD)
        assert "Urgency: Critical" in found
        assert await tab.run("document.querySelectorAll('.tree > ul > li').length") >= 3
        assert "scripted" in found
        (tmp_path / "page.png").write_bytes(await tab.picture())
        assert [each for each in tab.complaints if "favicon" not in each] == []


async def test_what_is_written_is_text_and_never_markup(service: Any, tmp_path: Path) -> None:
    async with browser(f"{service.url}/chat/", tmp_path / "chrome") as tab:
        await tab.send("<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>")
        assert not await tab.run("!!window.hacked")
        assert await tab.run("document.querySelectorAll('#talk img, #talk script').length") == 0


async def test_a_service_that_needs_a_key_says_so(serve: Any, tmp_path: Path) -> None:
    async with (
        serve(api_keys=f"ada:{'a' * 20}") as service,
        browser(f"{service.url}/chat/", tmp_path / "chrome") as tab,
    ):
        assert "a key is needed" in await tab.send("Write a Python function")
        await tab.run(f"document.getElementById('key').value = '{'a' * 20}'")
        assert "def" in await tab.send("Write a Python function that reverses a string")
