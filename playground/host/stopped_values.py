"""The payload of a stopped run as JSON, and what a client made of it as a value again."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from penguiflow.checkpoints import Checkpoint, Decision, Unfit
from penguiflow.recording.pointers import NOTHING, PointerError, assign, find, parts_of
from playground.host.runs import jsonable
from playground.loader.inputs import InputRefused
from playground.protocol import Decide


def shown(checkpoint: Checkpoint) -> Any:
    """A payload as plain JSON."""
    place, payload = checkpoint.place, checkpoint.payload
    if place is not None:
        return jsonable(place.shown())
    if isinstance(payload, BaseException):
        return {"error": {"type": type(payload).__name__, "message": str(payload)}}
    return jsonable(payload)


def decision_of(request: Decide, checkpoint: Checkpoint, plain: Any, masked: Any, by: str) -> Decision:
    """What a client decided, with values of the types that the run has. Raises `InputRefused`.

    `plain` is the payload as JSON, `masked` as the client saw it.
    """
    action, place = request.action, checkpoint.place
    if place is not None and action not in place.actions:
        told = f"{action} is not possible {checkpoint.kind.replace('_', ' ')}: {', '.join(place.actions)}"
        raise InputRefused([{"path": "/action", "message": told}])
    if action == "abort":
        return Decision("abort", str(request.value or "by the debugger"), by=by)
    if action in ("proceed", "retry"):
        return Decision(action, by=by)
    at = "" if place is None else place.editable
    value = request.value
    if action == "edit":
        value = edited(request.value, request.edits, plain, masked, at)
    if place is not None:
        try:
            value = place.checked(action, value)
        except Unfit as unfit:
            raise refused(unfit, at if action == "edit" else "") from None
    return Decision(action, value, by=by)


def refused(unfit: Unfit, at: str = "") -> InputRefused:
    """What does not fit, as clients are told; places are below `at`."""
    return InputRefused([{"path": at + pointer, "message": text} for pointer, text in unfit.details])


def edited(value: Any, edits: Mapping[str, Any], plain: Any, masked: Any, at: str = "") -> Any:
    """What comes in the place of the part of a document that is at a pointer. Raises `InputRefused`.

    `value` is all of it; with `edits` some places of the document are changed, all of them below `at`. Secrets that
    were not shown, and left as they were shown, are what they were.
    """
    where = parts_of(at) if at else []
    if not edits:
        return unmasked(value, find(masked, where), find(plain, where))
    document = deepcopy(plain)
    for place, new in edits.items():
        try:
            parts = parts_of(place)
            if parts[: len(where)] != where:
                raise PointerError(f"only {at} can be changed here")
            assign(document, parts, unmasked(new, find(masked, parts), find(plain, parts)))
        except PointerError as error:
            raise InputRefused([{"path": place, "message": str(error)}]) from None
    return find(document, where)


def unmasked(value: Any, masked: Any, plain: Any) -> Any:
    """A value with the secrets that a client was not shown, and left where they were."""
    if masked is NOTHING or plain is NOTHING:
        return value
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
