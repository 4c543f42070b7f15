"""The fixture `penguiflow_cassette`: tests that run a recorded trace again.

Installed with penguiflow. The cassettes of `tests/test_prices.py` are in `tests/cassettes/`; `pf test` writes them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.recording.cassette import Cassette
    from penguiflow.recording.replay import Replay
    from penguiflow.registry import ModelRegistry

__all__ = ["FOLDER", "CassettePlayer", "penguiflow_cassette"]

FOLDER = "cassettes"
"""Beside the test file."""


class CassettePlayer:
    """Replays cassettes of one test file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Where the cassettes are."""

    def load(self, name: str) -> Cassette:
        """The cassette of this name. Raises `FileNotFoundError` and `CassetteError`."""
        __tracebackhide__ = True
        from penguiflow.recording.cassette import Cassette

        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f"no cassette {path}: `pf test TRACE -o {self.folder.parent}/test_….py` writes one")
        return Cassette.load(path)

    def replay(
        self, flow: PenguiFlow | Callable[[], Any], name: str, *, registry: ModelRegistry | None = None
    ) -> Replay:
        """Replay a cassette offline, in an event loop of its own; for tests that are not `async`.

        `flow` does not run yet, or is made by a function (`async` or not) that returns it, or it and its registry; the
        function cannot connect to anything either.
        Raises `ReplayDiverged` where it asks something else than was recorded.
        """
        __tracebackhide__ = True
        return _undiverged(asyncio.run(_outcome(flow, self.load(name), registry)))

    async def replay_async(
        self, flow: PenguiFlow | Callable[[], Any], name: str, *, registry: ModelRegistry | None = None
    ) -> Replay:
        """As `replay`, in the event loop of the test."""
        __tracebackhide__ = True
        return _undiverged(await _outcome(flow, self.load(name), registry))


async def _outcome(flow: PenguiFlow | Callable[[], Any], cassette: Cassette, registry: ModelRegistry | None) -> Replay:
    """How the replay went."""
    from penguiflow.core import PenguiFlow
    from penguiflow.recording.offline import offline
    from penguiflow.recording.replay import replay

    with offline() as guard:
        made: Any = flow
        if not isinstance(flow, PenguiFlow):
            made = flow()
            if inspect.isawaitable(made):
                made = await made
        if isinstance(made, tuple):
            made, registry = made
        outcome = await replay(made, cassette, registry=registry)
    outcome.blocked, outcome.started = guard.blocked, guard.started
    return outcome


def _undiverged(outcome: Replay) -> Replay:
    """The outcome. A divergence is told by its place and its diff: the way to it through the runtime helps nobody."""
    __tracebackhide__ = True
    if outcome.diverged is not None:
        raise outcome.diverged.with_traceback(None) from None
    return outcome


@pytest.fixture
def penguiflow_cassette(request: pytest.FixtureRequest) -> CassettePlayer:
    """Replays the cassettes that are beside this test file."""
    return CassettePlayer(request.path.parent / FOLDER)
