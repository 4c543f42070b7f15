"""Messages as bytes: JSON of registered models, with the version of each, so that workers may be updated one by one.

A body is two lines of JSON: what is said about the message, and its payload. Only what a flow registers (and what the
runtime itself sends) is made of it: a class is never looked up by a name that came over the wire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, PydanticUserError, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from penguiflow.bus.errors import CannotRead, CannotSend, NewerVersion
from penguiflow.errors import FlowError
from penguiflow.types import WM, FinalAnswer, Headers, Message, PlanStep, StreamChunk, Thought
from penguiflow.validation import is_message

if TYPE_CHECKING:
    from penguiflow.bus.envelope import BusEnvelope
    from penguiflow.core import PenguiFlow
    from penguiflow.registry import ModelRegistry

__all__ = ["FORMAT", "Codec", "feed_body"]

FORMAT = 1
"""Version of the body itself."""
_OURS: tuple[type[BaseModel], ...] = (WM, FinalAnswer, PlanStep, StreamChunk, Thought)
_PLAIN = "json"
"""The type of a payload that is JSON as it is."""
_LIST = "list"
"""The type of a list of models and JSON."""
_NEXT_ITEM = b",\n"
_ERROR = "penguiflow.errors:FlowError"
_SCALARS = frozenset({str, int, float, bool, type(None)})
_MAX_DEPTH = 60


class Codec:
    """Reads and writes messages of the models that it was given, each with the node that registered it.

    A model says its version with `__bus_version__` (1 where it says none): raise it when older workers could not
    read what newer ones send. Raises `CannotSend` when a model has a field that JSON cannot carry.
    """

    def __init__(self, models: Iterable[tuple[str, type[BaseModel]]] = ()) -> None:
        self._models: dict[str, type[BaseModel]] = {_name(model): model for model in _OURS}
        self._prefixes: dict[type, tuple[str, int]] = {model: (_name(model), 1) for model in _OURS}
        for node, model in models:
            if issubclass(model, Message) or model in self._prefixes:
                continue
            _check(node, model)
            name = _name(model)
            if name in self._models:
                raise CannotSend(f"Node '{node}': two registered models are both named {name}; rename one of them")
            self._models[name] = model
            self._prefixes[model] = (name, getattr(model, "__bus_version__", 1))
        # The same file is a module of another name where it is the program.
        known = self._models.values()
        classes = Counter(model.__qualname__ for model in known)
        self._alone = {model.__qualname__: model for model in known if classes[model.__qualname__] == 1}

    @classmethod
    def for_flow(cls, flow: PenguiFlow, registry: ModelRegistry | None = None) -> Codec:
        """The codec of all that a flow's nodes take and give."""
        known = flow.registry if registry is None else registry
        names = [str(node.name) for node in flow.nodes]
        return cls((name, model) for name in names if known and known.has(name) for model in known.models(name))

    def encode(self, message: Any, node: str, *, about: Mapping[str, Any] | None = None) -> bytes:
        """The body of a message that `node` sends; `about` goes with it in the first line. Raises `CannotSend`."""
        said: dict[str, Any] = {**(about or {}), "format": FORMAT}
        payload = message
        if is_message(message):
            if type(message) is not Message:
                raise CannotSend(f"Node '{node}' sent a {type(message).__name__}: only Message itself can travel")
            payload = message.payload
            said["trace_id"] = message.trace_id
            said["ts"] = message.ts
            said["headers"] = message.headers.model_dump(mode="json")
            if message.deadline_s is not None:
                said["deadline_s"] = message.deadline_s
            if message.meta:
                if not _is_json(message.meta):
                    raise CannotSend(
                        f"Node '{node}' sent a message whose meta is not plain JSON: {message.meta!r:.200}"
                    )
                said["meta"] = message.meta
        encoded = self._encode_payload(payload, node, said)
        return to_json(said) + b"\n" + encoded

    def _encode_payload(self, payload: Any, node: str, about: dict[str, Any]) -> bytes:
        kind = type(payload)
        known = self._prefixes.get(kind)
        if known is not None:
            about["type"], about["version"] = known
            try:
                encoded: bytes = payload.__pydantic_serializer__.to_json(
                    payload, by_alias=True, round_trip=True, warnings="error"
                )
            except (PydanticSerializationError, ValueError) as error:
                raise CannotSend(f"Node '{node}' sent a {kind.__name__} that is not JSON: {error}") from error
            return encoded
        if isinstance(payload, FlowError):
            about["type"] = _ERROR
            return to_json(payload.to_payload(), fallback=repr, inf_nan_mode="strings")
        if _is_json(payload):
            about["type"] = _PLAIN
            return to_json(payload, inf_nan_mode="constants")
        if kind is list and list not in map(type, payload):
            return self._encode_items(payload, node, about)
        raise CannotSend(
            f"Node '{node}' sent a {kind.__module__}:{kind.__qualname__}, which cannot leave the process: "
            "register it as a pydantic model of a node, or send plain JSON values"
        )

    def _encode_items(self, items: list[Any], node: str, about: dict[str, Any]) -> bytes:
        """A list of models, as a join sends: JSON with an item on each line, and what each of them is."""
        kinds: list[dict[str, Any]] = [{} for _ in items]
        lines = [self._encode_payload(item, node, kind) for item, kind in zip(items, kinds, strict=True)]
        about["type"], about["items"] = _LIST, kinds
        return b"[" + _NEXT_ITEM.join(lines) + b"]"

    def decode(self, body: bytes, edge: str) -> Any:
        """The message again. Raises `CannotRead`, and `NewerVersion` where another worker may know better."""
        head, _, encoded = body.partition(b"\n")
        try:
            about = from_json(head)
            kind, form = about["type"], about["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise CannotRead(f"What came by edge {edge} is no message of penguiflow: {body!r:.100}") from error
        if form > FORMAT:
            raise NewerVersion(f"A message on edge {edge} was written by a newer penguiflow (format {form})")
        try:
            payload = self._decode_payload(kind, about, encoded, edge)
            if "headers" not in about:
                return payload
            return Message(
                payload=payload,
                headers=Headers(**about["headers"]),
                trace_id=about["trace_id"],
                ts=about["ts"],
                deadline_s=about.get("deadline_s"),
                meta=about.get("meta", {}),
            )
        except (ValidationError, KeyError, TypeError) as error:
            raise CannotRead(f"A message on edge {edge} is no valid {kind}: {error}") from error

    def _decode_payload(self, kind: str, about: dict[str, Any], encoded: bytes, edge: str) -> Any:
        model = self._models.get(kind) or self._alone.get(kind.partition(":")[2])
        if model is not None:
            version, known = about.get("version", 1), self._prefixes[model][1]
            if version > known:
                raise NewerVersion(
                    f"A message on edge {edge} is {kind} version {version}; this worker knows {known}: update it"
                )
            return model.__pydantic_validator__.validate_json(encoded)
        if kind in (_PLAIN, _ERROR):
            try:
                value = from_json(encoded)
            except ValueError as error:
                raise CannotRead(f"A message on edge {edge} holds no JSON: {error}") from error
            return value if kind == _PLAIN else FlowError.from_payload(value)
        if kind == _LIST:
            lines = encoded[1:-1].split(_NEXT_ITEM)  # JSON has no such character within an item
            if len(lines) != len(about["items"]):
                raise CannotRead(f"A message on edge {edge} has {len(lines)} items, and says otherwise")
            each = zip(about["items"], lines, strict=True)
            return [self._decode_payload(said["type"], said, line, edge) for said, line in each]
        raise CannotRead(
            f"A message on edge {edge} is a {kind}, which no node of this flow registers: "
            "it was sent by another version of the flow"
        )


def _name(model: type) -> str:
    return f"{model.__module__}:{model.__qualname__}"


def _check(node: str, model: type[BaseModel]) -> None:
    """Raise `CannotSend` for a model that does not come back from JSON as it was."""
    refused = f"Node '{node}': its model {model.__name__} cannot leave the process: "
    try:
        model.model_json_schema(mode="serialization")
        schema = model.model_json_schema(mode="validation")
    except PydanticUserError as error:
        raise CannotSend(f"{refused}it has a field that JSON cannot carry: {error.message}") from error
    if _has_secret(schema):
        raise CannotSend(f"{refused}it has a secret, whose JSON is stars: send the name of the secret in its place")
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    for name, field in model.model_fields.items():
        if field.exclude:
            raise CannotSend(f"{refused}its field {name} is excluded from JSON")
        written, read = field.serialization_alias or name, field.validation_alias or name
        if written != read and not (by_name and written == name):
            raise CannotSend(f"{refused}its field {name} is written as {written} and read as {read}")


def _has_secret(schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("writeOnly") is True or any(map(_has_secret, schema.values()))
    return isinstance(schema, list) and any(map(_has_secret, schema))


def feed_body(envelope: BusEnvelope) -> bytes:
    """What a feed tells of a message: JSON of whatever it is, for people and programs that look on. Never raises."""
    said = {
        "edge": envelope.edge,
        "trace_id": envelope.trace_id,
        "headers": envelope.headers,
        "meta": envelope.meta,
        "payload": envelope.payload.payload if is_message(envelope.payload) else envelope.payload,
    }
    return to_json(said, fallback=repr, inf_nan_mode="strings", serialize_unknown=True)


def _is_json(value: Any, depth: int = 0) -> bool:
    """Whether it comes back as it is."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if depth > _MAX_DEPTH:
        return False
    if kind is list:
        return all(_is_json(each, depth + 1) for each in value)
    if kind is dict:
        return all(type(key) is str and _is_json(each, depth + 1) for key, each in value.items())
    return False
