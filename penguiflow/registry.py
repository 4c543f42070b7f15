"""Which models a node takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, TypeAdapter

__all__ = ["ModelRegistry"]


@dataclass
class RegistryEntry:
    """A node's models with their adapters, each built once, when it is asked for."""

    in_model: type[BaseModel]
    out_model: type[BaseModel]

    @cached_property
    def in_adapter(self) -> TypeAdapter[Any]:
        """Checks what the node takes."""
        return TypeAdapter(self.in_model)

    @cached_property
    def out_adapter(self) -> TypeAdapter[Any]:
        """Checks what the node gives."""
        return TypeAdapter(self.out_model)


class ModelRegistry:
    """Models by node name."""

    def __init__(self) -> None:
        self._entries: dict[str, RegistryEntry] = {}

    def register(self, node_name: str, in_model: type[BaseModel], out_model: type[BaseModel]) -> None:
        """Say what the node named `node_name` takes and gives.

        Raises `ValueError` when the name is taken and `TypeError` when a model is no pydantic model.
        """
        if node_name in self._entries:
            raise ValueError(f"Node '{node_name}' already registered")
        for model in (in_model, out_model):
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise TypeError("Models must inherit from pydantic.BaseModel")
        self._entries[node_name] = RegistryEntry(in_model, out_model)

    def has(self, node_name: str) -> bool:
        """Whether the node is registered."""
        return node_name in self._entries

    def adapters(self, node_name: str) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
        """The node's input and output adapters. Raises `KeyError` when it is not registered."""
        entry = self._entry(node_name)
        return entry.in_adapter, entry.out_adapter

    def models(self, node_name: str) -> tuple[type[BaseModel], type[BaseModel]]:
        """The node's input and output models. Raises `KeyError` when it is not registered."""
        entry = self._entry(node_name)
        return entry.in_model, entry.out_model

    def _entry(self, node_name: str) -> RegistryEntry:
        try:
            return self._entries[node_name]
        except KeyError:
            raise KeyError(f"Node '{node_name}' not registered") from None
