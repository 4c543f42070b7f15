"""Records of tasks that the earlier PeerAgent left under the same keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from pydantic import ValidationError

from peeragent.models.tasks import LOST, TaskRecord, TaskStatus


def of_earlier(record: str) -> TaskRecord | None:
    """The task; None for what is none. One that was not over is `WORKER_LOST`: nobody will finish it."""
    try:
        told = json.loads(record)
        if not isinstance(told, dict):
            return None
        known = {name: value for name, value in told.items() if name in TaskRecord.model_fields and value is not None}
        known.setdefault("session_id", "")
        if isinstance(error := known.get("error"), str):
            known["error"] = {"error": error, "code": "EXECUTION_ERROR"}
        task = TaskRecord.model_validate(known)
    except (ValidationError, ValueError, RecursionError):
        return None
    changes: dict[str, object] = {
        name: at.replace(tzinfo=UTC)
        for name in ("created_at", "completed_at")
        if isinstance(at := getattr(task, name), datetime) and at.tzinfo is None
    }
    if not task.status.final:
        changes |= {"status": TaskStatus.FAILED, "error": LOST}
    return task.model_copy(update=changes)
