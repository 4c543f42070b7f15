"""Running a flow of the `flows` folder as a program does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import pytest

from penguiflow import Headers, Message, PenguiFlow, StreamChunk
from penguiflow.state.sqlite import SQLiteStateStore

HANG_S = 120.0


class Outcome(NamedTuple):
    """What a run gave."""

    result: Any
    chunks: list[StreamChunk]

    @property
    def text(self) -> str:
        """What was streamed."""
        return "".join(chunk.text for chunk in self.chunks)


class RunFlow(Protocol):
    """Runs the flow of a module once."""

    async def __call__(self, module: ModuleType, payload: Any, **run: Any) -> Outcome: ...


@pytest.fixture
async def run_flow() -> AsyncIterator[RunFlow]:
    started: list[PenguiFlow] = []

    async def run(module: ModuleType, payload: Any, **run: Any) -> Outcome:
        flow: PenguiFlow = module.flow
        if not flow.running:
            flow.run(registry=module.registry, **run)
            started.append(flow)
        results: list[Any] = []
        chunks: list[StreamChunk] = []
        async with asyncio.timeout(HANG_S):
            async for item in flow.stream(Message(payload=payload, headers=Headers(tenant="tests"))):
                (chunks if isinstance(item.payload, StreamChunk) else results).append(item.payload)
        (result,) = results
        return Outcome(result, chunks)

    yield run
    for flow in started:
        await flow.stop()


@pytest.fixture
def samples() -> Callable[[ModuleType], list[Any]]:
    """The sample inputs of a module."""

    def of(module: ModuleType) -> list[Any]:
        settings: dict[str, Any] = module.__flow__
        assert settings["title"]
        return list(settings["samples"])

    return of


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStateStore]:
    """Kept in a file of its own."""
    made = SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()
