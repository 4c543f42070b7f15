"""From an input model's JSON Schema to fields, and from what was typed to a value: no screen."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from playground.dashboard.text import unseen_escaped

FieldKind = Literal["text", "long", "integer", "number", "bool", "choice", "json"]
MAX_REFS = 20
KEPT_BEFORE = 12
"""Characters kept before the first that differs."""
_LIMITS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "more than"),
    "exclusiveMaximum": (operator.lt, "less than"),
}
_FORMATS: dict[str, tuple[type, str]] = {
    "date": (date, "a date, such as 2026-01-31"),
    "date-time": (datetime, "a date and a time, such as 2026-01-31T09:30:00Z"),
    "time": (time, "a time, such as 09:30:00"),
    "duration": (timedelta, "a duration, such as PT1H30M or 01:30:00"),
    "uuid": (UUID, "a UUID, such as 123e4567-e89b-42d3-a456-426614174000"),
}


class FormField(NamedTuple):
    """One field of a form."""

    name: str
    """Property name; empty when the whole input is one field."""
    kind: FieldKind
    type: str
    """For people: `integer`, `list of string`, `Customer`."""
    required: bool
    default: Any = None
    has_default: bool = False
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    about: str = ""
    schema: dict[str, Any] | None = None


class Invalid(ValueError):
    """What was typed does not fit; the text is for the line beside the field."""


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """`$ref` replaced by what it points to (within the same document)."""
    for _ in range(MAX_REFS):
        ref = schema.get("$ref")
        if not isinstance(ref, str):
            if len(schema.get("allOf", ())) == 1:
                schema = {**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}}
                continue
            return schema
        target: Any = root
        for part in ref.removeprefix("#/").split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, dict) else {}
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**(target if isinstance(target, dict) else {}), **rest}
    return schema


def fields_of(schema: dict[str, Any] | None) -> list[FormField]:
    """A field for each property; one field for everything when the input is no object."""
    if schema is None:
        return [FormField("", "json", "any JSON", required=True, nullable=True, about="nothing is null")]
    top = resolve(schema, schema)
    properties = top.get("properties")
    if not isinstance(properties, dict) or not properties:
        if top.get("type") == "object" and not top.get("additionalProperties"):
            return []
        return [_field("", schema, schema, required=True)]
    required = set(top.get("required", ()))
    return [_field(str(name), sub, schema, required=name in required) for name, sub in properties.items()]


def _field(name: str, sub: Any, root: dict[str, Any], *, required: bool) -> FormField:
    sub = resolve(sub if isinstance(sub, dict) else {}, root)
    about, default, has_default = sub.get("description", ""), sub.get("default"), "default" in sub
    nullable = sub.get("type") == "null"
    options = sub.get("anyOf") or sub.get("oneOf")
    if isinstance(options, list):
        real = [
            resolve(option, root) for option in options if isinstance(option, dict) and option.get("type") != "null"
        ]
        nullable = len(real) < len(options)
        sub = real[0] if len(real) == 1 else {"title": " or ".join(type_name(option, root) for option in real)}
    choices: tuple[Any, ...] = ()
    kind: FieldKind = "json"
    if "const" in sub:
        kind, choices = "choice", (sub["const"],)
    elif isinstance(sub.get("enum"), list):
        kind, choices = "choice", tuple(sub["enum"])
    else:
        match sub.get("type"):
            case "string":
                kind = "long" if _is_long(name, sub, default) else "text"
            case "integer":
                kind = "integer"
            case "number":
                kind = "number"
            case "boolean":
                kind = "bool"
    return FormField(
        name, kind, type_name(sub, root), required, default, has_default, nullable, choices, str(about).strip(), sub
    )


def _is_long(name: str, sub: dict[str, Any], default: Any) -> bool:
    if isinstance(default, str) and ("\n" in default or len(default) > 80):
        return True
    return (
        name in {"text", "prompt", "body", "content", "message"}
        and sub.get("maxLength", 1000) > 80
        and not sub.get("format")
    )


def type_name(sub: dict[str, Any], root: dict[str, Any]) -> str:
    """A schema's type in a few words."""
    sub = resolve(sub, root)
    kind = sub.get("type")
    if kind == "array":
        items = sub.get("items")
        return f"list of {type_name(items, root)}" if isinstance(items, dict) else "list"
    if kind == "object" or (kind is None and sub.get("title")):
        return str(sub.get("title", "object"))
    if sub.get("format"):
        return str(sub["format"])
    return str(kind) if kind is not None else "any JSON"


def show_value(field: FormField, value: Any) -> str:
    """A value as it stands in the field."""
    if value is None and (field.nullable or not field.required):
        return ""
    if field.kind in {"text", "long"} and isinstance(value, str):
        return value
    if field.kind == "json":
        return unseen_escaped(json.dumps(value, indent=2, ensure_ascii=False))
    return value if isinstance(value, str) else unseen_escaped(json.dumps(value, ensure_ascii=False))


def parse(field: FormField, text: str) -> tuple[bool, Any]:
    """Whether there is a value, and which. Raises `Invalid`."""
    stripped = text.strip()
    if not stripped and field.kind not in {"text", "long"}:
        if field.required and not field.nullable:
            raise Invalid("is required")
        return (True, None) if field.required else (False, None)
    if not text and (field.nullable or not field.required):
        return (True, None) if field.required else (False, None)
    value = _value(field, text, stripped)
    _check(field, value)
    return True, value


def _value(field: FormField, text: str, stripped: str) -> Any:
    match field.kind:
        case "integer":
            try:
                return int(stripped)
            except ValueError:
                raise Invalid("must be a whole number") from None
        case "number":
            try:
                return float(stripped)
            except ValueError:
                raise Invalid("must be a number") from None
        case "json":
            try:
                return json.loads(stripped)
            except json.JSONDecodeError as error:
                raise Invalid(f"is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
        case _:
            return text


def _check(field: FormField, value: Any) -> None:
    schema = field.schema or {}
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            raise Invalid("is required" if not value else f"needs at least {schema['minLength']} characters")
        if len(value) > schema.get("maxLength", len(value)):
            raise Invalid(f"has at most {schema['maxLength']} characters")
        _check_format(str(schema.get("format", "")), value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        for name, (fits, words) in _LIMITS.items():
            limit = schema.get(name)
            if isinstance(limit, int | float) and not fits(value, limit):
                raise Invalid(f"must be {words} {limit}")
    expected = {"array": list, "object": dict}.get(str(schema.get("type")))
    if field.kind == "json" and expected is not None and not isinstance(value, expected):
        raise Invalid(f"must be a JSON {schema['type']}")


def _check_format(name: str, value: str) -> None:
    """Formats that people mistype; whatever else a model wants, the host says."""
    known = _FORMATS.get(name)
    if known is None:
        return
    from pydantic import TypeAdapter, ValidationError

    kind, words = known
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise Invalid(f"must be {words}") from None


def collect(fields: Sequence[FormField], texts: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    """The input from what stands in the fields (text; for bools and choices the value), and errors by field."""
    if not fields:
        return {}, {}
    errors: dict[str, str] = {}
    result: dict[str, Any] = {}
    for field in fields:
        given = texts.get(field.name)
        if field.kind in {"bool", "choice"}:
            if given is not None or field.required:
                result[field.name] = given
            if given is None and field.required and not field.nullable:
                errors[field.name] = "is required"
            continue
        try:
            present, value = parse(field, str(given or ""))
        except Invalid as error:
            errors[field.name] = str(error)
            continue
        if present:
            result[field.name] = value
    if len(fields) == 1 and not fields[0].name:
        return result.get(""), errors
    return result, errors


def initial(fields: Sequence[FormField], value: Any) -> dict[str, Any]:
    """What stands in the fields for an input, or for none."""
    whole = len(fields) == 1 and not fields[0].name
    source = {"": value} if whole and value is not None else value if isinstance(value, dict) else {}
    shown: dict[str, Any] = {}
    for field in fields:
        given = source.get(field.name, field.default)
        if field.kind in {"bool", "choice"}:
            shown[field.name] = (
                given if field.name in source or field.has_default else False if field.kind == "bool" else None
            )
        else:
            present = field.name in source or field.has_default
            shown[field.name] = show_value(field, given) if present else ""
    return shown


def tell_apart(items: Sequence[Any]) -> list[str]:
    """A short text for each of some inputs: what differs between them, as JSON."""
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) < max(len(items), 2):
        return [json.dumps(item, ensure_ascii=False) for item in items]
    names = list(dict.fromkeys(name for item in objects for name in item))
    absent = object()
    varying = [
        name for name in names if any(item.get(name, absent) != objects[0].get(name, absent) for item in objects)
    ]
    begins = {name: _same_beginning([item[name] for item in objects if name in item]) for name in varying}
    texts = []
    for item in objects:
        shown = {name: _without(item[name], begins[name]) for name in varying if name in item}
        texts.append(json.dumps(shown or item, ensure_ascii=False))
    return texts


def _same_beginning(values: Sequence[Any]) -> int:
    """How many characters of long texts need not be shown: they are the same in all."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < max(len(values), 2):
        return 0
    first, last = min(texts), max(texts)
    same = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return max(same - KEPT_BEFORE, 0)


def _without(value: Any, begin: int) -> Any:
    return f"…{value[begin:]}" if begin > KEPT_BEFORE else value


def takes_null(schema: dict[str, Any] | None) -> bool:
    """Whether a whole input may be null, and therefore left out."""
    fields = fields_of(schema)
    return len(fields) == 1 and not fields[0].name and fields[0].nullable


def ready_input(schema: dict[str, Any] | None, samples: Sequence[Any], recent: Sequence[Any]) -> tuple[Any] | None:
    """An input that needs no asking: the last one, else the first sample, else the defaults when they suffice."""
    if recent:
        return (recent[0],)
    if samples:
        return (samples[0],)
    fields = fields_of(schema)
    if any(field.required and not field.has_default for field in fields):
        return None
    return ({},)
