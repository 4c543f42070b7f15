"""What a JSON Schema says of a value that is being edited: what does not fit, and what may stand where.

Only what pydantic writes into schemas is looked at; whatever else a model wants, the host says.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from playground.dashboard.form import resolve, type_name

MAX_FAULTS = 20
MAX_DEPTH = 60
MAX_CHOICES = 200
Schema = dict[str, Any]


class Fault(NamedTuple):
    """Something that does not fit."""

    parts: list[str]
    """Keys to the value."""
    message: str
    rule: str
    """Where the schema says so: `properties/url/minLength`."""

    @property
    def pointer(self) -> str:
        """JSON Pointer to the value."""
        return pointer(self.parts)


class Choice(NamedTuple):
    """Something that may stand at the cursor."""

    text: str
    """JSON, as it is put in."""
    about: str


def pointer(parts: list[str]) -> str:
    """Keys as a JSON Pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def faults(value: Any, schema: Schema | None) -> list[Fault]:
    """What of a value does not fit a schema."""
    found: list[Fault] = []
    if schema is not None:
        told = set()
        for fault in _faults(value, schema, schema, [], "", 0):
            if (fault.pointer, fault.message) in told:  # the alternatives say it, and so does what holds for all
                continue
            told.add((fault.pointer, fault.message))
            found.append(fault)
            if len(found) >= MAX_FAULTS:
                break
    return found


def choices(schema: Schema | None, parts: list[str], wants: str, present: frozenset[str]) -> list[Choice]:
    """What may stand at a place: keys of an object, or values."""
    if schema is None:
        return []
    found: dict[str, Choice] = {}
    for option in _at(schema, parts):
        for choice in _keys(option, schema, present) if wants == "key" else _values(option, schema):
            found.setdefault(choice.text, choice)
            if len(found) >= MAX_CHOICES:
                return list(found.values())
    return list(found.values())


def skeleton(schema: Schema | None) -> Any:
    """A value to begin with: what is required, with defaults."""
    return None if schema is None else _skeleton(schema, schema, 0)


# -- what fits --------------------------------------------------------------------------------------------------------

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_LIMITS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "minimum": (operator.ge, "must be at least {}"),
    "maximum": (operator.le, "must be at most {}"),
    "exclusiveMinimum": (operator.gt, "must be more than {}"),
    "exclusiveMaximum": (operator.lt, "must be less than {}"),
}


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool) and name != "boolean":
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


def _is_hidden(value: Any) -> bool:
    """Whether a secret is shown masked. What it really is fits: only the host has it, and looks at it."""
    if isinstance(value, str):
        return "⟦$secret " in value
    return isinstance(value, dict) and value.keys() == {"$secret"} and isinstance(value["$secret"], str)


def _faults(value: Any, schema: Any, root: Schema, parts: list[str], rule: str, depth: int) -> Iterator[Fault]:
    if not isinstance(schema, dict) or depth > MAX_DEPTH or _is_hidden(value):
        return
    schema = resolve(schema, root)
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            yield from _alternatives(value, schema[name], root, parts, f"{rule}{name}", depth)
    for number, each in enumerate(schema.get("allOf") or ()):
        yield from _faults(value, each, root, parts, f"{rule}allOf/{number}/", depth + 1)
    if "const" in schema and value != schema["const"]:
        yield Fault(parts, f"must be {json.dumps(schema['const'])}", f"{rule}const")
        return
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        words = ", ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"][:12])
        yield Fault(parts, f"must be one of {words}", f"{rule}enum")
        return
    types = schema.get("type")
    allowed = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    if allowed and not any(_is(value, str(name)) for name in allowed):
        yield Fault(parts, f"must be {' or '.join(_named(str(name)) for name in allowed)}", f"{rule}type")
        return
    if isinstance(value, dict):
        yield from _of_object(value, schema, root, parts, rule, depth)
    elif isinstance(value, list):
        yield from _of_list(value, schema, root, parts, rule, depth)
    elif isinstance(value, str):
        yield from _of_text(value, schema, parts, rule)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        for name, (fits, words) in _LIMITS.items():
            if isinstance(schema.get(name), int | float) and not fits(value, schema[name]):
                yield Fault(parts, words.format(schema[name]), rule + name)


def _alternatives(
    value: Any, options: list[Any], root: Schema, parts: list[str], rule: str, depth: int
) -> Iterator[Fault]:
    best: list[Fault] = []
    least: tuple[bool, int, int] | None = None
    tag, tagged = _tag(value, options, root)
    if tag is not None and value[tag] not in tagged and not _is_hidden(value[tag]):
        words = ", ".join(json.dumps(each, ensure_ascii=False) for each in tagged[:12])
        yield Fault([*parts, tag], f"must be one of {words}", rule)
        return
    for number, option in enumerate(options):
        if tag is not None and value[tag] != tagged[number] and not _is_hidden(value[tag]):
            continue
        found = list(_faults(value, option, root, parts, f"{rule}/{number}/", depth + 1))
        if not found:
            return
        # The option that was meant is of the value's type, and its faults lie deepest.
        other = any(fault.parts == parts and fault.rule.endswith("/type") for fault in found)
        rank = (other, -max(len(fault.parts) for fault in found), len(found))
        if least is None or rank < least:
            best, least = found, rank
    if least is not None and least[0]:
        names = " or ".join(type_name(option, root) for option in options if isinstance(option, dict))
        yield Fault(parts, f"must be {names}", rule)
    else:
        yield from best


def _tag(value: Any, options: list[Any], root: Schema) -> tuple[str | None, list[Any]]:
    """The key by which a value says which option is meant, and what each has there: of a tool's call, its name."""
    if not isinstance(value, dict) or len(options) < 2:
        return None, []
    each = [resolve(option, root).get("properties") or {} for option in options if isinstance(option, dict)]
    for key in each[0] if len(each) == len(options) else ():
        if key in value and all(isinstance(about.get(key), dict) and "const" in about[key] for about in each):
            return key, [about[key]["const"] for about in each]
    return None, []


def _of_object(
    value: dict[str, Any], schema: Schema, root: Schema, parts: list[str], rule: str, depth: int
) -> Iterator[Fault]:
    known = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in value:
            yield Fault(parts, f"{name} is missing", f"{rule}required")
    rest = schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in known:
            yield from _faults(item, known[key], root, [*parts, key], f"{rule}properties/{key}/", depth + 1)
        elif rest is False:
            names = ", ".join(sorted(set(known) - set(value))[:8])
            yield Fault([*parts, key], "is not known here" + (f": there is {names}" if names else ""),
                        f"{rule}additionalProperties")  # fmt: skip
        elif isinstance(rest, dict):
            yield from _faults(item, rest, root, [*parts, key], f"{rule}additionalProperties/", depth + 1)


def _of_list(
    value: list[Any], schema: Schema, root: Schema, parts: list[str], rule: str, depth: int
) -> Iterator[Fault]:
    if len(value) < schema.get("minItems", 0):
        yield Fault(parts, f"needs at least {schema['minItems']} items", f"{rule}minItems")
    if len(value) > schema.get("maxItems", len(value)):
        yield Fault(parts, f"has at most {schema['maxItems']} items", f"{rule}maxItems")
    first = schema.get("prefixItems") or []
    for index, item in enumerate(value):
        if index < len(first):
            yield from _faults(item, first[index], root, [*parts, str(index)], f"{rule}prefixItems/{index}/", depth + 1)
        elif isinstance(schema.get("items"), dict):
            yield from _faults(item, schema["items"], root, [*parts, str(index)], f"{rule}items/", depth + 1)


def _of_text(value: str, schema: Schema, parts: list[str], rule: str) -> Iterator[Fault]:
    if len(value) < schema.get("minLength", 0):
        yield Fault(parts, f"needs at least {schema['minLength']} characters", f"{rule}minLength")
    if len(value) > schema.get("maxLength", len(value)):
        yield Fault(parts, f"has at most {schema['maxLength']} characters", f"{rule}maxLength")
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and len(value) < 10_000:
        try:
            fits = re.search(pattern, value) is not None
        except re.error:  # another dialect: the host knows it
            return
        if not fits:
            yield Fault(parts, f"does not match {pattern}", f"{rule}pattern")


def _named(name: str) -> str:
    return {"object": "an object", "array": "a list", "string": "a text", "integer": "a whole number",
            "number": "a number", "boolean": "true or false"}.get(name, name)  # fmt: skip


# -- what may stand where ---------------------------------------------------------------------------------------------


def _options(schema: Any, root: Schema, depth: int = 0) -> Iterator[Schema]:
    """A schema with its references followed, and each of its alternatives."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    schema = resolve(schema, root)
    yield schema
    for name in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(name) or ():
            yield from _options(each, root, depth + 1)


def _at(schema: Schema, parts: list[str]) -> list[Schema]:
    found = list(_options(schema, schema))
    for part in parts:
        deeper: list[Schema] = []
        for option in found:
            inner = (option.get("properties") or {}).get(part)
            if inner is None:
                rest, items = option.get("additionalProperties"), option.get("items")
                first = option.get("prefixItems") or []
                inner = rest if isinstance(rest, dict) else None
                if part.isdigit():
                    inner = first[int(part)] if int(part) < len(first) else items if items is not None else inner
            deeper += _options(inner, schema)
        found = deeper[:MAX_CHOICES]
    return found


def _keys(option: Schema, root: Schema, present: frozenset[str]) -> Iterator[Choice]:
    required = set(option.get("required") or ())
    for name, inner in (option.get("properties") or {}).items():
        if name in present or not isinstance(inner, dict):
            continue
        about = type_name(inner, root) + ("" if name in required else ", may be left out")
        text = inner.get("description")
        yield Choice(json.dumps(name, ensure_ascii=False), f"{about} · {text}" if text else about)


def _values(option: Schema, root: Schema) -> Iterator[Choice]:
    title = str(option.get("title", ""))
    if "const" in option:
        yield Choice(json.dumps(option["const"], ensure_ascii=False), title)
    for each in option.get("enum") or ():
        yield Choice(json.dumps(each, ensure_ascii=False), title)
    if "default" in option:
        yield Choice(json.dumps(option["default"], ensure_ascii=False), "default")
    for each in option.get("examples") or ():
        yield Choice(json.dumps(each, ensure_ascii=False), "example")
    if "enum" in option or "const" in option:
        return
    match option.get("type"):
        case "boolean":
            yield Choice("true", title)
            yield Choice("false", title)
        case "null":
            yield Choice("null", "")
        case "object":
            yield Choice(json.dumps(_skeleton(option, root, 0), ensure_ascii=False), type_name(option, root))
        case "array":
            yield Choice("[]", type_name(option, root))
        case "string":
            yield Choice('""', type_name(option, root))


def _skeleton(schema: Any, root: Schema, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 12:
        return None
    schema = resolve(schema, root)
    for name in ("default", "const"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            options = [resolve(each, root) for each in schema[name] if isinstance(each, dict)]
            return None if any(each.get("type") == "null" for each in options) else _skeleton(
                options[0], root, depth + 1
            )  # fmt: skip
    if isinstance(schema.get("properties"), dict):
        required = schema.get("required") or ()
        return {key: _skeleton(schema["properties"].get(key), root, depth + 1) for key in required}
    kind = schema.get("type")
    return {"object": {}, "array": [], "string": "", "integer": 0, "number": 0, "boolean": False}.get(str(kind))
