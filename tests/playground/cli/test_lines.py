"""Lines of stdin, from whatever it is, while the loop goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.cli.lines import Lines

LIMIT_S = 60.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:  # the test has closed it
            continue


async def following(lines: Lines) -> str | None:
    async with asyncio.timeout(LIMIT_S):
        return await lines.next()


async def test_lines_come_whole_and_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = Lines(reading)
    os.write(writing, b"one\r\ntwo\nthr")
    assert [await following(lines), await following(lines)] == ["one", "two"]
    waiting = asyncio.create_task(following(lines))
    await asyncio.sleep(0)
    assert not waiting.done()
    os.write(writing, "ee ü\n\xff".encode("latin-1"))
    assert await waiting == "three �"
    os.close(writing)
    assert [await following(lines), await following(lines)] == ["�", None]
    assert await following(lines) is None


async def test_who_gives_up_loses_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = Lines(reading)
    waiting = asyncio.create_task(lines.next())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    os.write(writing, b"still here\n")
    assert await following(lines) == "still here"


async def test_nothing_is_read_before_somebody_waits(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    Lines(reading)
    os.write(writing, b"for others\n")
    await asyncio.sleep(0)
    assert os.read(reading, 100) == b"for others\n"


@pytest.mark.parametrize("content", ["", "one\n", "one\ntwo"])
async def test_a_plain_file_is_read_to_its_end(tmp_path: Path, content: str) -> None:
    path = tmp_path / "decisions"
    path.write_text(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        lines = Lines(descriptor)
        for expected in content.splitlines():
            assert await following(lines) == expected
        assert await following(lines) is None
    finally:
        os.close(descriptor)
