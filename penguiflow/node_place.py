"""What can be decided at the checkpoints of a node, and the envelope of its message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, create_model

from penguiflow.channels import UNCHANGED
from penguiflow.checkpoints import Action, CheckpointKind, Part, Unfit
from penguiflow.failures import text_of
from penguiflow.observer import Payload
from penguiflow.types import Headers, Message
from penguiflow.unfit import fitting, made, schema_of
from penguiflow.validation import is_message, rewrap

if TYPE_CHECKING:
    from penguiflow.context import Context

__all__ = ["NodePlace", "change_envelope", "envelope_parts"]

_ACTIONS: Mapping[str, Sequence[Action]] = {
    "before_node": ("proceed", "edit", "skip", "inject", "abort"),
    "after_node": ("proceed", "edit", "retry", "inject", "abort"),
    "on_error": ("proceed", "edit", "skip", "retry", "inject", "abort"),
}
_ENVELOPE: Mapping[str, Any] = {"headers": Headers, "meta": dict[str, Any]}


class NodePlace:
    """A checkpoint of a node (this is a `penguiflow.checkpoints.Place`)."""

    def __init__(self, kind: CheckpointKind, context: Context, payload: Any, given: Any) -> None:
        """`payload` as the checkpoint has it, `given` what the function got."""
        self._kind = kind
        self._context = context
        self._payload = payload
        self._given = given

    @property
    def actions(self) -> Sequence[Action]:
        """See `Place`."""
        return _ACTIONS[self._kind]

    @property
    def editable(self) -> str:
        """See `Place`."""
        return "/input" if self._kind == "on_error" else ""

    def shown(self) -> Any:
        """See `Place`. An error, with where it was raised and what the function got."""
        if not isinstance(self._payload, BaseException):
            return self._payload
        error, trace = self._payload, self._context._trace
        if trace is not None and trace.log is not None:
            return {"error": trace.log.describe(error), "input": self._given}
        return {"error": {"type": type(error).__name__, "message": text_of(error, str)}, "input": self._given}

    def schema(self, action: Literal["edit", "skip"]) -> dict[str, Any] | None:
        """See `Place`."""
        if action == "skip":
            return schema_of(self._model(1))
        live = self._live()
        if not is_message(live):
            return schema_of(self._kind_of(live))
        inner = type(live.payload) if isinstance(live.payload, BaseModel) else None
        model: Any = create_model(
            "Message",
            payload=(inner or Any, ...),
            headers=(Headers, ...),
            meta=(dict[str, Any], {}),
            deadline_s=(float | None, None),
        )
        return schema_of(model)

    def checked(self, action: Action, value: Any) -> Any:
        """See `Place`."""
        if action == "edit":
            return self._like(self._live(), value)
        if action == "skip":
            return self._result(value)
        if action == "inject":
            return self._injected(value)
        return value

    def parts(self) -> Mapping[str, Part]:
        """See `Place`."""
        if self._kind != "on_error" and is_message(self._payload):
            message = self._payload
            return {"headers": Part(message.headers, schema_of(Headers)), "meta": Part(message.meta)}
        return envelope_parts(self._context)

    def change(self, part: str, value: Any, by: str) -> Any:
        """See `Place`."""
        if self._kind == "on_error" or not is_message(self._payload):
            change_envelope(self._context, part, value, by)
            return None
        before, after = getattr(self._payload, part), made(_ENVELOPE[part], value)
        self._payload = self._payload.model_copy(update={part: after})
        _tell(self._context, part, before, after, by)
        return self._payload

    def memory(self) -> Any:
        """See `Place`. A node has none."""
        return None

    def kv(self) -> Any:
        """See `Place`. A node has none."""
        return None

    def _live(self) -> Any:
        return self._given if self._kind == "on_error" else self._payload

    def _model(self, which: int) -> type[BaseModel] | None:
        """What the node is registered to take (0) or give (1); None for messages, and where nobody knows."""
        runtime, name = self._context.runtime, self._context._port.name
        registry = None if runtime is None else runtime.registry
        if registry is None or not registry.has(name):
            return None
        model = registry.models(name)[which]
        return None if issubclass(model, Message) else model

    def _kind_of(self, live: Any) -> Any:
        """The type that takes the place of a value."""
        if isinstance(live, BaseModel):
            return type(live)
        model = self._model(1 if self._kind == "after_node" else 0)
        return type(live) if model is None else model

    def _like(self, live: Any, value: Any) -> Any:
        if not is_message(live):
            kind = self._kind_of(live)
            return value if schema_of(kind) is None and not _is_model(kind) else made(kind, value)
        if not isinstance(value, dict) or "payload" not in value:
            raise Unfit([("", "a message is an object with a payload")])
        payload = fitting(lambda: _payload_like(live.payload, value["payload"]), "/payload")
        fields = {"trace_id": live.trace_id, "ts": live.ts, **value, "payload": payload}
        fields["trace_id"] = live.trace_id
        return fitting(lambda: type(live).model_validate(fields))

    def _result(self, value: Any) -> Any:
        model = self._model(1)
        result = value if model is None or value is None else made(model, value)
        return rewrap(self._given, result) if is_message(self._given) else result

    def _injected(self, value: Any) -> Any:
        """A message like the one that is handled, with this payload; a node that takes payloads sends it bare."""
        return rewrap(self._given, value) if is_message(self._given) else value


def _payload_like(live: Any, value: Any) -> Any:
    kind = type(live)
    return value if schema_of(kind) is None and not _is_model(kind) else made(kind, value)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def envelope_parts(context: Context) -> dict[str, Part]:
    """Headers and meta of the message that a node handles, whose payload was taken out; those of others are theirs."""
    envelope = context._envelope
    if envelope is not None:
        return {"headers": Part(envelope.headers, schema_of(Headers)), "meta": Part(envelope.meta)}
    message = context.message
    if not is_message(message):
        return {}
    why = "the node's function has the message: it can be changed before the node is called"
    return {"headers": Part(message.headers, schema_of(Headers), why), "meta": Part(message.meta, None, why)}


def change_envelope(context: Context, part: str, value: Any, by: str) -> None:
    """Change headers or meta of a message whose payload was taken out: its results go with them. Raises `Unfit`."""
    found = envelope_parts(context).get(part)
    if found is None or context._envelope is None:
        raise Unfit([("", (found.why_not if found is not None else None) or f"there is no {part} here")])
    before, after = found.value, made(_ENVELOPE[part], value)
    # A copy: the same message may be handled by other nodes.
    changed = context._envelope.model_copy(update={part: after})
    floe, message, payload, trace, message_id = context._item
    if is_message(message):
        held = message.payload if payload is UNCHANGED else payload
        context._item = (floe, rewrap(changed, held), UNCHANGED, trace, message_id)
    context._envelope = changed
    _tell(context, part, before, after, by)


def _tell(context: Context, part: str, before: Any, after: Any, by: str) -> None:
    trace = context._trace
    if trace is not None and trace.log is not None:
        about = {"of": part, "before": Payload(before), "after": Payload(after), "by": by}
        trace.log.event("edit", part, context._span, about)
