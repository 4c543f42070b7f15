"""A host that is killed loses nothing that was committed, and repeats only what had no end."""

from __future__ import annotations

from benchmarks.kill_resume import measure


async def test_three_kills() -> None:
    count = await measure(3, seed=5)

    assert count.problems == []
    assert count.losses == 0
    assert count.kills >= 3
    assert count.resumed
    assert count.again <= count.open
