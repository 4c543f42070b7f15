"""Results for as long as the process lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peagen.plugins.result_backends.task_run import TaskRun, in_order, task_run_of


class InMemoryResultBackend:
    """Keeps rows in a mapping. For tests, and for one process."""

    def __init__(self) -> None:
        self._rows: dict[str, TaskRun] = {}

    async def store(self, task_run: TaskRun | Mapping[str, Any]) -> None:
        """Keep a row; one with the same id is replaced."""
        row = task_run_of(task_run)
        self._rows[row.id] = row.model_copy(deep=True)

    async def list_tasks(self) -> list[TaskRun]:
        """All rows."""
        return in_order([row.model_copy(deep=True) for row in self._rows.values()])

    async def close(self) -> None:
        """Nothing is open."""
