"""What a plugin of each kind can do. All of it may block: whoever runs a loop calls it in a thread.

Results backends alone are asynchronous: they are asked by servers, in the middle of other work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from peagen.plugins.result_backends.task_run import TaskRun


@runtime_checkable
class Publisher(Protocol):
    """Tells others of events. `close` may be called more than once."""

    def publish(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Send one event, which is plain data. Raises `PublishFailed`."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


@runtime_checkable
class Storage(Protocol):
    """Keeps files by key (`a/b.txt`), and contents by their hash, as git's filters do. Raises `StorageFailed`."""

    @property
    def root_uri(self) -> str:
        """Where it is, without secrets; ends in a slash."""
        ...

    def upload(self, key: str, data: BinaryIO) -> str:
        """Keep a file; where it is now. One that is there is replaced whole."""
        ...

    def download(self, key: str) -> BinaryIO:
        """Open a file; at its beginning."""
        ...

    def upload_dir(self, folder: str | Path, *, prefix: str = "") -> str:
        """Keep all files of a folder under a prefix; where that is."""
        ...

    def iter_prefix(self, prefix: str) -> Iterator[str]:
        """The keys that begin so, in order."""
        ...

    def download_prefix(self, prefix: str, folder: str | Path) -> None:
        """Write all files under a prefix into a folder."""
        ...

    def clean(self, data: bytes) -> str:
        """Keep a content; `sha256:<hex>`, which stands in its place in git."""
        ...

    def smudge(self, oid: str) -> bytes:
        """The content that is kept under `sha256:<hex>`; what is not that content is refused."""
        ...


@runtime_checkable
class ResultBackend(Protocol):
    """Keeps what became of tasks. Raises `BackendFailed`."""

    async def store(self, task_run: TaskRun | Mapping[str, Any]) -> None:
        """Keep a task's row; one with the same id is replaced."""
        ...

    async def list_tasks(self) -> list[TaskRun]:
        """All rows, in the order in which they were started; those that were not, last."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


@runtime_checkable
class Vcs(Protocol):
    """Keeps versions of a work-tree. Raises `GitError`."""

    @property
    def root(self) -> Path:
        """The work-tree."""
        ...

    def commit(self, paths: Sequence[str], message: str) -> str | None:
        """Commit these files; the commit's hash, None where nothing changed."""
        ...

    def push(self, ref: str | None = None) -> list[str]:
        """Send a branch to the remotes that are there; their names."""
        ...
