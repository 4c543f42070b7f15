"""What stores keep of sessions."""

from __future__ import annotations

import json
from datetime import UTC

from penguiflow.state import (
    RemoteBinding,
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    TaskContextSnapshot,
    TaskState,
    TaskStateModel,
    TaskStatus,
    TaskType,
    UpdateType,
)


def task() -> TaskState:
    snapshot = TaskContextSnapshot(session_id="s", task_id="t")
    return TaskState("t", "s", TaskStatus.PENDING, TaskType.FOREGROUND, 0, snapshot)


def test_a_task_as_a_model_goes_through_json() -> None:
    state = task()
    model = TaskStateModel.from_state(state)
    again = TaskStateModel.model_validate_json(model.model_dump_json())
    assert again == model
    assert (again.status, again.created_at) == (TaskStatus.PENDING, state.created_at)
    assert json.loads(model.model_dump_json())["status"] == "PENDING"


def test_a_status_comes_with_its_time() -> None:
    state = task()
    before = state.updated_at
    state.update_status(TaskStatus.RUNNING)
    assert state.status is TaskStatus.RUNNING
    assert state.updated_at >= before
    assert state.updated_at.tzinfo is UTC


def test_what_is_filled_in() -> None:
    snapshot = TaskContextSnapshot(session_id="s", task_id="t")
    assert (snapshot.spawned_from_task_id, snapshot.propagate_on_cancel) == ("foreground", "cascade")
    assert snapshot.notify_on_complete is True
    one, two = (StateUpdate(session_id="s", task_id="t", update_type=UpdateType.RESULT, content=1) for _ in "12")
    assert one.update_id != two.update_id
    event = SteeringEvent(session_id="s", task_id="t", event_type=SteeringEventType.PAUSE)
    assert (event.source, event.payload) == ("user", {})
    binding = RemoteBinding("t", None, "task", "url")
    assert (binding.is_terminal, binding.metadata) == (False, {})


def test_names_of_the_kinds() -> None:
    kinds = "THINKING PROGRESS TOOL_CALL RESULT ERROR CHECKPOINT STATUS_CHANGE NOTIFICATION"
    assert [each.value for each in UpdateType] == kinds.split()
    states = "PENDING RUNNING PAUSED COMPLETE FAILED CANCELLED"
    assert [each.value for each in TaskStatus] == states.split()
    assert [each.value for each in TaskType] == ["FOREGROUND", "BACKGROUND"]
    wishes = "INJECT_CONTEXT REDIRECT CANCEL PRIORITIZE PAUSE RESUME APPROVE REJECT USER_MESSAGE"
    assert [each.value for each in SteeringEventType] == wishes.split()
