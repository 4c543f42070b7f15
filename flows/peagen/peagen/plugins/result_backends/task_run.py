"""A task's row: what was asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def _in_a_zone(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)


When = Annotated[datetime, AfterValidator(_in_a_zone)]
"""A time; one without a zone is UTC's."""


class TaskRun(BaseModel):
    """One task. `duration` is in seconds."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(min_length=1, max_length=200)
    pool: str = "default"
    task_type: str = ""
    status: str = "queued"
    payload: dict[str, Any] = Field(default_factory=dict)
    result: Any = None
    deps: list[str] = Field(default_factory=list)
    edge_pred: str | None = None
    labels: list[str] = Field(default_factory=list)
    in_degree: int = 0
    config_toml: str | None = None
    oids: list[str] | None = None
    commit_hexsha: str | None = None
    started_at: When | None = None
    finished_at: When | None = None
    duration: float | None = None


def task_run_of(given: TaskRun | Mapping[str, Any]) -> TaskRun:
    """A row, checked. Raises `ValueError` for what is none."""
    if isinstance(given, TaskRun):
        return given
    try:
        return TaskRun.model_validate({**given, "id": str(given.get("id") or "")})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"this is no row of a task: {place}: {first['msg']}") from None


def in_order(rows: list[TaskRun]) -> list[TaskRun]:
    """As they were started; those that were not come last, by their ids."""
    return sorted(rows, key=lambda row: (row.started_at is None, row.started_at and row.started_at.timestamp(), row.id))
