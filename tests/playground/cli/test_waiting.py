from __future__ import annotations

import asyncio
import io

import pytest

from playground.cli import waiting as module
from playground.cli.console import Console
from playground.cli.waiting import waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def wait(console: Console, err: io.StringIO, text: str) -> None:
    async with asyncio.timeout(60), waiting(console, "comparing"):
        while text not in err.getvalue():  # noqa: ASYNC110 - what is waited for is a line
            await asyncio.sleep(0)


async def test_a_line_shows_that_time_passes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "SILENT_S", 0.0)
    monkeypatch.setattr(module, "_TICK_S", 0.0)
    err = Terminal()
    await wait(Console(io.StringIO(), err), err, "⠙ comparing")
    assert err.getvalue().endswith("\r\x1b[K")


async def test_on_a_pipe_and_in_the_first_second_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    async with waiting(Console(io.StringIO(), terminal), "comparing"):
        await asyncio.sleep(0)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(module, "SILENT_S", 0.0)
    pipe = io.StringIO()
    async with waiting(Console(io.StringIO(), pipe), "comparing"):
        await asyncio.sleep(0.01)
    assert pipe.getvalue() == ""
