"""How long a piece of a stream waits for those before it."""

from __future__ import annotations

from penguiflow.bus import Limits
from penguiflow.distributed.streams import Gap


def test_a_gap_lasts_as_long_as_no_piece_could_that_still_comes() -> None:
    gap = Gap(Limits(lease_s=2.0, max_deliveries=3))
    assert gap.bound_s == 8.0
    assert [gap.lasts((0, 0), 3.0) for _ in range(3)] == [False, False, True]


def test_progress_and_signs_of_life_begin_the_wait_anew() -> None:
    gap = Gap(Limits(lease_s=1.0, max_deliveries=1))
    assert not gap.lasts((0, 0), 1.5)
    assert not gap.lasts((1, 0), 1.5)
    assert not gap.lasts((1, 4), 1.5)
    assert not gap.lasts((1, 9), 1.5)
    assert gap.lasts((1, 9), 1.5)
