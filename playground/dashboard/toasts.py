"""Notices that end in time, whatever the clock of the wall does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from textual.notifications import Notification

SOON_S = 0.01


@dataclass
class Toast(Notification):
    """A notification that lives by the monotonic clock.

    Textual's lives by the wall clock: when that jumps, or when it expires just as it is drawn, the time that is left is
    negative, and a timer of Textual with a negative interval never gives the loop back.
    """

    begun: float = field(default_factory=time.monotonic)

    @property
    def time_left(self) -> float:
        """Seconds, always more than none."""
        return max(self.begun + self.timeout - time.monotonic(), SOON_S)

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self.begun + self.timeout
