"""The payload of a stopped run as JSON, and what a client made of it as a value again."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from penguiflow import Message
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.recording.pointers import PointerError, assign, parts_of
from playground.host.runs import jsonable
from playground.loader.inputs import InputRefused, pointer
from playground.protocol import Decide

_PLAIN = (dict, list, str, int, float, bool, type(None))


def shown(payload: Any) -> Any:
    """A payload as plain JSON."""
    if isinstance(payload, BaseException):
        return {"error": {"type": type(payload).__name__, "message": str(payload)}}
    return jsonable(payload)


def decision_of(request: Decide, checkpoint: Checkpoint, plain: Any, masked: Any) -> Decision:
    """What a client decided, with values of the types that the run has. Raises `InputRefused`.

    `plain` is the payload as JSON, `masked` as the client saw it.
    """
    action = request.action
    if action == "proceed":
        return Decision.proceed
    if action == "retry":
        return Decision.retry
    if action == "abort":
        return Decision.abort(str(request.value or "by the debugger"))
    if action == "inject":
        return Decision.inject(request.value)
    live = checkpoint.payload
    value = unmasked(request.value, masked, plain)
    if action == "skip":
        return Decision.skip(live.model_copy(update={"payload": value}) if isinstance(live, Message) else value)
    if request.edits:
        value = _part_to_edit(checkpoint.kind, _with_edits(plain, request.edits))
    if isinstance(live, BaseException):
        return Decision.edit(value)  # the input of another call: the node checks it
    return Decision.edit(rebuilt(live, value))


def rebuilt(live: Any, value: Any) -> Any:
    """A value of the type of the one it takes the place of. Raises `InputRefused`."""
    if isinstance(live, Message):
        if not isinstance(value, dict) or "payload" not in value:
            raise InputRefused([{"path": "", "message": "a message is an object with a payload"}])
        fields = {**value, "payload": rebuilt(live.payload, value["payload"]), "trace_id": live.trace_id}
        return _checked(lambda: type(live).model_validate(fields))
    if type(live) in _PLAIN:
        return value
    if isinstance(live, BaseModel):
        return _checked(lambda: type(live).model_validate(value))
    return _checked(lambda: TypeAdapter(type(live)).validate_python(value))


def unmasked(value: Any, masked: Any, plain: Any) -> Any:
    """A value with the secrets that a client was not shown, and left where they were."""
    if value == masked:
        return plain
    if isinstance(value, dict) and isinstance(masked, dict) and isinstance(plain, dict):
        return {
            key: unmasked(item, masked[key], plain[key]) if key in masked and key in plain else item
            for key, item in value.items()
        }
    if isinstance(value, list) and isinstance(masked, list) and isinstance(plain, list):
        known = min(len(masked), len(plain))
        return [unmasked(item, masked[n], plain[n]) if n < known else item for n, item in enumerate(value)]
    return value


def _with_edits(plain: Any, edits: dict[str, Any]) -> Any:
    document = deepcopy(plain)
    for place, value in edits.items():
        try:
            assign(document, parts_of(place), value)
        except PointerError as error:
            raise InputRefused([{"path": place, "message": str(error)}]) from None
    return document


def _part_to_edit(kind: str, document: Any) -> Any:
    """The part of a planner's payload that an edit replaces: see `penguiflow.planner.checkpoints`."""
    if kind == "after_tool":
        return document["observation"]
    if kind in ("before_tool", "before_join", "on_error") and "args" in document:
        return {key: document[key] for key in ("tool", "args", "call_id") if key in document}
    return document


def _checked(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValidationError as error:
        details = [{"path": pointer(item["loc"]), "message": item["msg"]} for item in error.errors()]
        raise InputRefused(details) from None
    except PydanticSchemaGenerationError as error:
        raise InputRefused([{"path": "", "message": f"it cannot be made from JSON: {error.message}"}]) from None
    except Exception as error:  # the validators of a payload are user code
        raise InputRefused([{"path": "", "message": f"{type(error).__name__}: {error}"}]) from None
