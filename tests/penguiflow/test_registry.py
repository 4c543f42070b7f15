"""Models by node name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from penguiflow import ModelRegistry
from penguiflow.registry import RegistryEntry


class In(BaseModel):
    n: int


class Out(BaseModel):
    n: int


def test_what_was_registered_is_found() -> None:
    registry = ModelRegistry()
    registry.register("node", In, Out)
    assert registry.has("node")
    assert not registry.has("other")
    assert registry.models("node") == (In, Out)
    into, out = registry.adapters("node")
    assert (into.validate_python({"n": "1"}), out.validate_python({"n": 2})) == (In(n=1), Out(n=2))


def test_adapters_are_built_once() -> None:
    registry = ModelRegistry()
    registry.register("node", In, Out)
    assert all(a is b for a, b in zip(registry.adapters("node"), registry.adapters("node"), strict=True))


def test_a_name_is_taken_once() -> None:
    registry = ModelRegistry()
    registry.register("node", In, Out)
    with pytest.raises(ValueError, match="Node 'node' already registered"):
        registry.register("node", In, In)
    assert registry.models("node") == (In, Out)


@pytest.mark.parametrize("models", [(int, Out), (In, dict), (In(n=1), Out), (In, None)])
def test_only_models_can_be_registered(models: Any) -> None:
    registry = ModelRegistry()
    with pytest.raises(TypeError, match=r"Models must inherit from pydantic\.BaseModel"):
        registry.register("node", *models)
    assert not registry.has("node")


def test_a_missing_node_is_named() -> None:
    registry = ModelRegistry()
    for look_up in (registry.adapters, registry.models):
        with pytest.raises(KeyError) as missing:
            look_up("node")
        assert missing.value.args == ("Node 'node' not registered",)


def test_an_entry_holds_adapters_and_models_in_the_order_of_penguiflow_3() -> None:
    into, out = TypeAdapter(In), TypeAdapter(Out)
    entry = RegistryEntry(into, out, In, Out)
    assert (entry.in_adapter, entry.out_adapter, entry.in_model, entry.out_model) == (into, out, In, Out)


def test_a_model_may_name_another_that_does_not_exist_yet() -> None:
    class Order(BaseModel):
        item: Item

    registry = ModelRegistry()
    registry.register("node", Order, Order)

    class Item(BaseModel):
        name: str

    Order.model_rebuild(_types_namespace={"Item": Item})
    assert registry.adapters("node")[0].validate_python({"item": {"name": "x"}}).item == Item(name="x")
