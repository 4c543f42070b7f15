"""Connections for reading that wait for the next question."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from penguiflow.state.errors import StoreError

__all__ = ["Idle"]


class Closes(Protocol):
    """Something that lets go of what it holds."""

    def close(self) -> None:
        """Let go of it."""
        ...


C = TypeVar("C", bound=Closes)


class Idle(Generic[C]):
    """Used by any threads. Raises `StoreError` once it is closed."""

    def __init__(self, place: str, limit: int) -> None:
        self._place = place
        self._limit = limit
        self._waiting: list[C] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self) -> C | None:
        """One that waits; None when there is none."""
        with self._lock:
            if self._closed:
                raise StoreError(f"{self._place}: the store is closed", path=self._place)
            return self._waiting.pop() if self._waiting else None

    @contextmanager
    def used(self, opened: C) -> Iterator[C]:
        """Have one wait again afterwards, as far as some may; one on which something went wrong is closed."""
        try:
            yield opened
        except BaseException:
            opened.close()
            raise
        with self._lock:
            keep = not self._closed and len(self._waiting) < self._limit
            if keep:
                self._waiting.append(opened)
        if not keep:
            opened.close()

    def take_all(self, *, last: bool = False) -> list[C]:
        """All that wait, to be closed; `last`: none is to wait any more."""
        with self._lock:
            self._closed = self._closed or last
            waiting, self._waiting = self._waiting, []
        return waiting
