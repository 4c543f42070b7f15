"""A value that fits a JSON schema, always the same one: what a model without a script answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["sample_of"]

_TEXT = "scripted"
_DEPTH = 12
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "scripted@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def sample_of(schema: Mapping[str, Any], *, text: str = _TEXT) -> Any:
    """The smallest value that fits; `text` stands where any text does.

    Patterns and conditions between fields are not looked at.
    """
    return _Sampler(schema, text).value(schema, 0)


class _Sampler:
    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._text = text

    def value(self, schema: Any, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if "default" in schema:
            return schema["default"]
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self.value(self._simplest(schema[key], depth), depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case "null":
                return None
        return self._object(schema, depth) if "properties" in schema else self._text

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        """The schema that a reference stands for, with what `allOf` adds to it."""
        for _ in range(_DEPTH):
            if not isinstance(schema, Mapping):
                return {}
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                break
            target: Any = self._root
            for name in reference.removeprefix("#").strip("/").split("/"):
                target = target.get(name, {}) if isinstance(target, Mapping) and name else target
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        if not schema.get("allOf"):
            return dict(schema)
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            found = self._resolved(part)
            properties = {**merged.get("properties", {}), **found.get("properties", {})}
            required = [*merged.get("required", []), *found.get("required", [])]
            merged = {**found, **merged}
            if properties:
                merged |= {"properties": properties, "required": required}
        return merged

    def _simplest(self, options: list[Any], depth: int) -> Any:
        """The first that is not null; where things are nested deep, null if it may be."""
        nulls = [each for each in options if self._resolved(each).get("type") == "null"]
        others = [each for each in options if each not in nulls]
        return nulls[0] if nulls and (depth > 2 or not others) else others[0]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        if depth >= _DEPTH:
            return {}
        return {name: self.value(properties.get(name, {}), depth + 1) for name in schema.get("required", ())}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        fixed = [self.value(each, depth + 1) for each in schema.get("prefixItems", ())]
        missing = schema.get("minItems", 0) - len(fixed)
        return [*fixed, *(self.value(schema.get("items", {}), depth + 1) for _ in range(missing))]

    def _string(self, schema: Mapping[str, Any]) -> str:
        text: str = _FORMATS.get(schema.get("format", ""), self._text)
        text += "." * (schema.get("minLength", 0) - len(text))
        longest: int = schema.get("maxLength", len(text))
        return text[:longest]


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low: int | float | None = schema.get("minimum", above)
    high: int | float | None = schema.get("maximum", below)
    step: int | float | None = schema.get("multipleOf", 1 if whole else None)
    if (low is None or low <= 0) and (high is None or high >= 0) and 0 not in (above, below):
        return 0
    if step and low is not None:
        number = math.ceil(low / step) * step
        return number + step if number == above else number
    if step and high is not None:
        number = math.floor(high / step) * step
        return number - step if number == below else number
    if low is not None and high is not None:
        return (low + high) / 2
    return low + 1 if low is not None else (high or 0) - 1
