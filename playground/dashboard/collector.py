"""When the garbage collector looks at everything: only while nothing happens."""

from __future__ import annotations

import gc
import time

IDLE_S = 2.0
THRESHOLDS = (700, 10, 100_000)
"""The third generation is left to `Collector`: one pass over all widgets takes 60 ms, which a key would feel."""


def tune() -> None:
    """Leave the third generation alone."""
    gc.set_threshold(*THRESHOLDS)


def leave() -> None:
    """The process ends: to look through a long trace for garbage would only keep people waiting."""
    gc.freeze()
    gc.disable()


class Collector:
    """Collects, and sets aside what is left, once after each time that something happened."""

    def __init__(self) -> None:
        self._quiet_since = time.monotonic()
        self._done = False

    def frame(self, moved: bool) -> None:
        """Called once per frame; `moved` when something happened in it."""
        now = time.monotonic()
        if moved:
            self._quiet_since, self._done = now, False
        elif not self._done and now - self._quiet_since > IDLE_S:
            self._done = True
            gc.collect()
            gc.freeze()
