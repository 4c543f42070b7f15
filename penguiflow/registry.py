"""Which models a node takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

__all__ = ["ModelRegistry"]


@dataclass
class RegistryEntry:
    """A node's models with their adapters."""

    in_adapter: TypeAdapter[Any]
    """Checks what the node takes."""
    out_adapter: TypeAdapter[Any]
    """Checks what the node gives."""
    in_model: type[BaseModel]
    out_model: type[BaseModel]


class ModelRegistry:
    """Models by node name."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {}
        self._entries: dict[str, RegistryEntry] = {}
        """Made when they are asked for: until then a model may name others that do not exist yet."""

    def register(self, node_name: str, in_model: type[BaseModel], out_model: type[BaseModel]) -> None:
        """Say what the node named `node_name` takes and gives.

        Raises `ValueError` when the name is taken and `TypeError` when a model is no pydantic model.
        """
        if node_name in self._models:
            raise ValueError(f"Node '{node_name}' already registered")
        for model in (in_model, out_model):
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise TypeError("Models must inherit from pydantic.BaseModel")
        self._models[node_name] = (in_model, out_model)

    def has(self, node_name: str) -> bool:
        """Whether the node is registered."""
        return node_name in self._models

    def adapters(self, node_name: str) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
        """The node's input and output adapters. Raises `KeyError` when it is not registered."""
        entry = self._entries.get(node_name)
        if entry is None:
            in_model, out_model = self.models(node_name)
            entry = RegistryEntry(TypeAdapter(in_model), TypeAdapter(out_model), in_model, out_model)
            self._entries[node_name] = entry
        return entry.in_adapter, entry.out_adapter

    def models(self, node_name: str) -> tuple[type[BaseModel], type[BaseModel]]:
        """The node's input and output models. Raises `KeyError` when it is not registered."""
        try:
            return self._models[node_name]
        except KeyError:
            raise KeyError(f"Node '{node_name}' not registered") from None
