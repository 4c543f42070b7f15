"""JSON schemas in the form that a provider takes."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

__all__ = [
    "JsonSchemaTransformer",
    "estimate_object_key_count",
    "has_composition_keywords",
    "has_open_objects",
    "has_recursive_refs",
    "has_refs",
    "inlined",
]

_COMPOSITION = frozenset({"anyOf", "oneOf", "allOf", "not"})
_NAMED = ("properties", "$defs", "definitions", "patternProperties")  # schemas by name
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")  # lists of schemas
_SINGLE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_DEFINITIONS = ("$defs", "definitions")


class JsonSchemaTransformer(ABC):
    """Brings a schema into the form of one provider. Those of providers say what they change in `convert`."""

    UNSUPPORTED_KEYWORDS: ClassVar[set[str]] = set()
    """Left out wherever they stand."""
    INLINE: ClassVar[bool] = False
    """Whether references are replaced by what they stand for."""

    def __init__(self, schema: dict[str, Any], *, strict: bool = True) -> None:
        self.schema = schema
        self.strict = strict

    def transform(self) -> dict[str, Any]:
        """The schema in the provider's form; the one that was given stays as it is."""
        schema = inlined(self.schema) if self.INLINE else copy.deepcopy(self.schema)
        return self._walk(schema)

    @abstractmethod
    def convert(self, node: dict[str, Any]) -> dict[str, Any]:
        """One schema of the whole, after those inside of it; keywords that are not supported are gone already."""

    def _walk(self, node: dict[str, Any]) -> dict[str, Any]:
        node = {key: value for key, value in node.items() if key not in self.UNSUPPORTED_KEYWORDS}
        for key in _NAMED:
            if isinstance(node.get(key), dict):
                node[key] = {name: self._inner(each) for name, each in node[key].items()}
        for key in _LISTED:
            if isinstance(node.get(key), list):
                node[key] = [self._inner(each) for each in node[key]]
        for key in _SINGLE:
            if isinstance(node.get(key), dict):
                node[key] = self._walk(node[key])
        return self.convert(node)

    def _inner(self, node: Any) -> Any:
        return self._walk(node) if isinstance(node, dict) else node


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without references. One that leads back to itself becomes an object of any form."""

    def resolve(node: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [resolve(each, inside) for each in node]
        if not isinstance(node, Mapping):
            return node
        reference = node.get("$ref")
        rest = {key: resolve(value, inside) for key, value in node.items() if key not in ("$ref", *_DEFINITIONS)}
        if not isinstance(reference, str):
            return rest
        if reference in inside:
            return {"type": "object", **rest}
        return {**resolve(_target(schema, reference), (*inside, reference)), **rest}

    result: dict[str, Any] = resolve(schema, ("#",))
    return result


def estimate_object_key_count(schema: dict[str, Any]) -> int:
    """How many named properties there are in all, those of definitions once."""
    return sum(len(node["properties"]) for node in _nodes(schema) if isinstance(node.get("properties"), Mapping))


def has_composition_keywords(schema: dict[str, Any]) -> bool:
    """Whether there is an `anyOf`, `oneOf`, `allOf` or `not` in it."""
    return any(_COMPOSITION & node.keys() for node in _nodes(schema))


def has_refs(schema: dict[str, Any]) -> bool:
    """Whether there is a reference in it."""
    return any("$ref" in node for node in _nodes(schema))


def has_recursive_refs(schema: dict[str, Any]) -> bool:
    """Whether a reference leads back to where it stands."""

    def leads_back(node: Mapping[str, Any], inside: tuple[str, ...]) -> bool:
        for each in _nodes(node, definitions=False):
            reference = each.get("$ref")
            if isinstance(reference, str) and (
                reference in inside or leads_back(_target(schema, reference), (*inside, reference))
            ):
                return True
        return False

    return leads_back(schema, ("#",))


def has_open_objects(schema: Any) -> bool:
    """Whether an object may have keys that the schema does not name."""
    if isinstance(schema, list):
        return any(has_open_objects(each) for each in schema)
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "object" and (
        not schema.get("properties") or schema.get("additionalProperties") not in (None, False)
    ):
        return True
    return any(has_open_objects(each) for each in schema.values())


def _target(schema: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    node: Any = schema
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name and isinstance(node, Mapping):
            node = node.get(name.replace("~1", "/").replace("~0", "~"), {})
    return node if isinstance(node, Mapping) else {}


def _nodes(schema: Any, *, definitions: bool = True) -> Iterator[Mapping[str, Any]]:
    """Every schema in a schema, itself first."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in _NAMED:
        if isinstance(schema.get(key), Mapping) and (definitions or key not in _DEFINITIONS):
            for each in schema[key].values():
                yield from _nodes(each, definitions=definitions)
    for key in _LISTED:
        if isinstance(schema.get(key), list):
            for each in schema[key]:
                yield from _nodes(each, definitions=definitions)
    for key in _SINGLE:
        yield from _nodes(schema.get(key), definitions=definitions)
