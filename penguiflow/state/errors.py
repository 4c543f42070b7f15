"""What can be wrong with a store.

StoreError                  anything; carries `.path`
 ├── StoreUnreadable        corrupt, not a database, no permission to read
 ├── StoreNotWritable       read-only folder or file, disk full
 ├── StoreTooNew            written by a later version; carries `.found` and `.supported`
 ├── TraceNotFound          no such trace; carries `.trace_id`
 └── AmbiguousTrace         a prefix with several matches; carries `.candidates`
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["AmbiguousTrace", "StoreError", "StoreNotWritable", "StoreTooNew", "StoreUnreadable", "TraceNotFound"]


class StoreError(Exception):
    """The store cannot do what was asked of it."""

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class StoreUnreadable(StoreError):
    """The store's file is damaged, is no database, or may not be read."""


class StoreNotWritable(StoreError):
    """Nothing can be written: read-only place, missing permission, or a full disk."""


class StoreTooNew(StoreError):
    """The store was written by a later version of penguiflow."""

    def __init__(self, message: str, *, path: str | None = None, found: int, supported: int) -> None:
        super().__init__(message, path=path)
        self.found = found
        self.supported = supported


class TraceNotFound(StoreError, LookupError):
    """No trace has this id."""

    def __init__(self, message: str, *, trace_id: str, path: str | None = None) -> None:
        super().__init__(message, path=path)
        self.trace_id = trace_id


class AmbiguousTrace(StoreError, LookupError):
    """Several traces begin with this prefix."""

    def __init__(self, message: str, *, prefix: str, candidates: Sequence[str], path: str | None = None) -> None:
        super().__init__(message, path=path)
        self.prefix = prefix
        self.candidates = tuple(candidates)
