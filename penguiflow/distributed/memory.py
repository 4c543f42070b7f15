"""What a node keeps for a trace, as JSON: plain values as they are, models and messages as they travel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from penguiflow.bus.codec import Codec
from penguiflow.bus.errors import CannotSend
from penguiflow.errors import FlowError

__all__ = ["NodeMemory"]

_SCALARS = frozenset({str, int, float, bool, type(None)})
_BODY, _TUPLE, _SET, _PAIRS = "$body", "$tuple", "$set", "$pairs"


@dataclass(slots=True)
class NodeMemory:
    """One node's memory of one trace."""

    state: dict[str, Any] = field(default_factory=dict)
    """What the node itself keeps."""
    hold: str | None = None
    """Why it waits for more messages."""
    streams: dict[str, int] = field(default_factory=dict)
    """Next number of each stream that it has begun and not ended."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not self.state and self.hold is None and not self.streams

    def dump(self, codec: Codec, node: str) -> bytes:
        """As JSON. Raises `CannotSend`, which names the node, for what JSON cannot carry."""
        said = {"state": _plain(self.state, codec, node), "hold": self.hold, "streams": self.streams}
        return to_json(said, inf_nan_mode="constants")

    @classmethod
    def load(cls, value: bytes, codec: Codec, node: str) -> NodeMemory:
        """From JSON. Raises `CannotRead`."""
        said = from_json(value)
        return cls(_alive(said["state"], codec, node), said["hold"], said["streams"])


def _plain(value: Any, codec: Codec, node: str) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list:
        return [_plain(each, codec, node) for each in value]
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _plain(each, codec, node) for key, each in value.items()}
        return {_PAIRS: [[_plain(key, codec, node), _plain(each, codec, node)] for key, each in value.items()]}
    if kind is tuple or kind is set:
        return {_TUPLE if kind is tuple else _SET: [_plain(each, codec, node) for each in value]}
    if isinstance(value, BaseModel | FlowError):
        return {_BODY: codec.encode(value, node).decode()}
    raise CannotSend(
        f"Node '{node}' keeps a {kind.__module__}:{kind.__qualname__} in ctx.trace_state, which other workers could "
        "not read: keep plain JSON values, messages, or pydantic models that a node registers"
    )


def _alive(value: Any, codec: Codec, node: str) -> Any:
    if type(value) is list:
        return [_alive(each, codec, node) for each in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, said),) = value.items()
        if key == _BODY:
            return codec.decode(said.encode(), f"{node} (its trace_state)")
        if key == _TUPLE:
            return tuple(_alive(each, codec, node) for each in said)
        if key == _SET:
            return {_alive(each, codec, node) for each in said}
        if key == _PAIRS:
            return {_alive(name, codec, node): _alive(each, codec, node) for name, each in said}
    return {key: _alive(each, codec, node) for key, each in value.items()}
