"""What happens to a message on its way into a node's function, and to the result on its way out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from pydantic import BaseModel, TypeAdapter
from pydantic_core import SchemaValidator

from penguiflow.registry import ModelRegistry as _ModelRegistry
from penguiflow.types import (
    WM,
    FinalAnswer,
    Message,
    StreamChunk,
    set_extra,
    set_given,
    set_private,
    set_values,
)

if TYPE_CHECKING:
    from penguiflow.node import Node
    from penguiflow.registry import ModelRegistry

_new = object.__new__


def rewrap(envelope: Message, payload: Any) -> Message:
    """The envelope around another payload, with its headers, trace, deadline and meta.

    The parts were validated when the envelope was made, so they are not validated again.
    """
    if type(envelope) is not Message:
        return envelope.model_copy(update={"payload": payload})
    message = _new(Message)
    values = envelope.__dict__.copy()
    values["payload"] = payload
    set_values(message, values)
    set_given(message, envelope.__pydantic_fields_set__)
    set_extra(message, None)
    set_private(message, None)
    return message


def is_message(value: Any) -> TypeGuard[Message]:
    """Whether it is a `Message`, or of a class derived from it; `isinstance` takes ten times as long."""
    return Message in type(value).__mro__


_MAX_KNOWN_TYPES = 4096
_no_chunks: set[type] = set()


def is_stream_chunk(value: Any) -> bool:
    """Whether it is a `StreamChunk`, or of a class derived from it."""
    kind = type(value)
    if kind in _no_chunks:
        return False
    if StreamChunk in kind.__mro__:
        return True
    if len(_no_chunks) >= _MAX_KNOWN_TYPES:
        _no_chunks.clear()
    _no_chunks.add(kind)
    return False


def with_hops(memory: WM, hops: int) -> WM:
    """A copy that says how many rounds were made."""
    if type(memory) is not WM:
        return memory.model_copy(update={"hops": hops})
    copy = _new(WM)
    values = memory.__dict__.copy()
    values["hops"] = hops
    set_values(copy, values)
    given = memory.__pydantic_fields_set__
    set_given(copy, given if "hops" in given else given | {"hops"})
    set_extra(copy, None)
    set_private(copy, None)
    return copy


def new_chunk(stream_id: str, seq: int, text: str, done: bool, meta: dict[str, Any] | None) -> StreamChunk:
    """A chunk. Parts of exactly the right type are not validated again."""
    exact = type(stream_id) is str and type(seq) is int and type(text) is str and type(done) is bool
    if not exact or meta:
        return StreamChunk(stream_id=stream_id, seq=seq, text=text, done=done, meta=meta or {})
    chunk = _new(StreamChunk)
    values = {"stream_id": stream_id, "seq": seq, "text": text, "done": done, "meta": {}}
    set_values(chunk, values)
    set_given(chunk, set(values))
    set_extra(chunk, None)
    set_private(chunk, None)
    return chunk


def _hands_back(model: type[BaseModel]) -> bool:
    """Whether pydantic gives an instance back as it is, without asking validators of the model."""
    schema: Any = model.__pydantic_core_schema__
    if not isinstance(schema, Mapping):
        return False  # it names models that did not exist yet
    if schema.get("type") == "definitions":
        schema = schema["schema"]
    return schema.get("type") == "model" and model.model_config.get("revalidate_instances", "never") == "never"


def _checker(model: type[BaseModel]) -> tuple[Callable[[Any], Any], type | None]:
    """The bound validator, and the exact type whose instances need no check."""
    trusted = model if _hands_back(model) else None
    validator = model.__pydantic_validator__
    if not isinstance(validator, SchemaValidator):
        # A model that names others which did not exist yet.
        validator = TypeAdapter(model).validator
    return validator.validate_python, trusted


def _checker_of(registry: ModelRegistry, name: str, which: int) -> tuple[Callable[[Any], Any], None] | None:
    """The check of a registry that makes its own adapters."""
    if type(registry).adapters is _ModelRegistry.adapters:
        return None
    return registry.adapters(name)[which].validate_python, None


class NodeValidators:
    """The checks of one node under one registry, looked up once."""

    __slots__ = (
        "check_in",
        "check_out",
        "expects_message",
        "name",
        "plain_out",
        "trusted_in",
        "trusted_out",
        "unwraps",
    )

    def __init__(self, node: Node, registry: ModelRegistry | None) -> None:
        self.name = str(node.name)
        self.check_in: Callable[[Any], Any] | None = None
        self.check_out: Callable[[Any], Any] | None = None
        self.trusted_in: type | None = None
        self.trusted_out: type | None = None
        self.plain_out: type | None = None
        """The exact type of results that need no check and simply go to the successors."""
        self.unwraps = False
        self.expects_message = False
        mode = node.policy.validate
        if registry is None or mode == "none":
            return
        in_model, out_model = registry.models(self.name)
        self.unwraps = not issubclass(in_model, Message)
        self.expects_message = issubclass(in_model, Message) and issubclass(out_model, Message)
        if mode in ("both", "in"):
            self.check_in, self.trusted_in = _checker_of(registry, self.name, 0) or _checker(in_model)
            if not self.unwraps and in_model is not Message:
                self.trusted_in = None
        if mode in ("both", "out") and not self.expects_message:
            self.check_out, self.trusted_out = _checker_of(registry, self.name, 1) or _checker(out_model)
        if self.trusted_out is not None and not issubclass(out_model, Message | WM | FinalAnswer):
            self.plain_out = None if "trace_id" in out_model.model_fields else self.trusted_out

    def prepare(self, message: Any) -> tuple[Any, Message | None]:
        """What the function gets, and the envelope it came in if that was taken off."""
        envelope = None
        if self.unwraps and isinstance(message, Message):
            envelope = message
            message = message.payload
        return self.accept(message), envelope

    def accept(self, value: Any) -> Any:
        """What the function gets, out of its envelope."""
        if self.check_in is not None and type(value) is not self.trusted_in:
            return self.check_in(value)
        return value

    def finish(self, result: Any, envelope: Message | None) -> Any:
        """What leaves the node. None stays None: nothing is sent."""
        if result is None:
            return None
        if isinstance(result, Message):
            if self.check_out is not None and self.trusted_out is not Message:
                payload = result.payload
                if type(payload) is not self.trusted_out:
                    checked = self.check_out(payload)
                    if checked is not payload:
                        result = rewrap(result, checked)
            return result
        if self.expects_message:
            warnings.warn(
                f"Node '{self.name}' is registered for Message -> Message outputs but returned "
                f"{type(result).__name__}. Return a penguiflow.types.Message to preserve headers, trace_id, and meta.",
                RuntimeWarning,
                stacklevel=2,
            )
            return result
        if self.check_out is not None and type(result) is not self.trusted_out:
            result = self.check_out(result)
        return result if envelope is None else rewrap(envelope, result)
