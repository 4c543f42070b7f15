"""Two dashboards on one project: each sees what the other one has under way, and leaves it alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.hands import Hands
from benchmarks.terminal import PF

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow

WAITING = """
    from __future__ import annotations

    import asyncio
    from pathlib import Path

    from penguiflow import Node, NodePolicy, create

    __flow__ = {"title": "Waiting", "samples": ["x"]}


    async def waits(message, ctx):
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        return message.payload


    flow = create(Node(waits, name="waits", policy=NodePolicy(validate="none")).to())
"""


def test_a_run_of_another_dashboard_is_told_as_stopped_or_running_and_lives_on(
    project: Path, add_flow: AddFlow
) -> None:
    add_flow("waiting", WAITING)
    command: list[str | Path] = [PF, "tui"]
    with Hands(command, cwd=project, size=(120, 30)) as first:
        first.until_shown("Waiting", "ready")
        first.brings(b"S", "⏸ 1 stopped")
        with Hands(command, cwd=project, size=(120, 30)) as second:
            second.until_shown("Waiting", "ready", "⏸")
            second.until_so(lambda: "elsewhere" in second.line("⏸"), "it is not said to be elsewhere")
            # It is not for this one to let it go on.
            second.brings(b"2c", "no run that is shown has stopped")
            first.clears(b"c", "⏸ 1 stopped")
            second.until_so(lambda: second.shows(" elsewhere") and not second.shows("⏸"), "it is said to have stopped")
            second.press(b"q")
            assert second.wait(60.0) == 0
        # Another one that comes and goes marks nothing either.
        with Hands(command, cwd=project, size=(120, 30)) as third:
            third.until_shown("Waiting", "ready", " elsewhere")
            assert not third.shows("interrupted")
            (project / "go").touch()
            third.until_shown("✔")
            third.press(b"q")
            assert third.wait(60.0) == 0
        first.until_shown("0 running", "✔")
