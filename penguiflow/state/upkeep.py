"""When a writer looks for old traces, and how long it may rest."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

__all__ = ["UPKEEP_EVERY_S", "Upkeep"]

W = TypeVar("W")

UPKEEP_EVERY_S = 60.0
"""How often old traces are looked for, where the store is to forget them."""


class Upkeep(Generic[W]):
    """A bounded piece of work on the database that is done again and again; None: there is none."""

    def __init__(self, work: W | None) -> None:
        self.work = work
        self._at = time.monotonic()

    def is_due(self, *, late_s: float = 0.0) -> bool:
        """Whether it is time for it, or was so long ago."""
        return self.work is not None and time.monotonic() >= self._at + late_s

    def done(self, *, more: bool) -> None:
        """A piece was done; `more` of it is left."""
        self._at = time.monotonic() + (0.0 if more else UPKEEP_EVERY_S)

    def pause(self, sign_s: float | None) -> float | None:
        """How long a writer may rest that has to give a sign of life after `sign_s`; None: as long as it likes."""
        pauses = [] if sign_s is None else [sign_s]
        if self.work is not None:
            pauses.append(max(0.0, self._at - time.monotonic()))
        return min(pauses, default=None)
