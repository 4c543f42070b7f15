"""Results as files: `<root_dir>/<id>.json`."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peagen.plugins.errors import BackendFailed
from peagen.plugins.result_backends.task_run import TaskRun, in_order, task_run_of

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class LocalFsResultBackend:
    """Keeps each row in a file of its own, written whole or not at all."""

    def __init__(self, root_dir: str | Path = "./task_runs") -> None:
        self.root = Path(root_dir)
        self._turn = asyncio.Lock()
        """One thread writes: the disk takes one after the other."""

    async def store(self, task_run: TaskRun | Mapping[str, Any]) -> None:
        """Keep a row; one with the same id is replaced. Raises `BackendFailed`."""
        row = task_run_of(task_run)
        if _PLAIN.fullmatch(row.id) is None:
            raise BackendFailed(f"a task's id is a name of a file here, and {row.id!r} is none")
        async with self._turn:
            await asyncio.to_thread(self._write, row)

    async def list_tasks(self) -> list[TaskRun]:
        """All rows. Raises `BackendFailed` for a file that is none."""
        return await asyncio.to_thread(self._read_all)

    async def close(self) -> None:
        """Nothing is open."""

    def _write(self, row: TaskRun) -> None:
        temporary = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".task-", dir=self.root)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(row.model_dump_json(indent=2))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.root / f"{row.id}.json")
            temporary = None
        except OSError as error:
            raise BackendFailed(
                f"the result of {row.id} was not kept: {error.strerror}", where=str(self.root)
            ) from None
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)

    def _read_all(self) -> list[TaskRun]:
        rows = []
        for path in self.root.glob("*.json"):
            try:
                rows.append(TaskRun.model_validate_json(path.read_bytes()))
            except (OSError, ValueError) as error:
                raise BackendFailed(f"this is no row of a task: {type(error).__name__}", where=str(path)) from None
        return in_order(rows)
