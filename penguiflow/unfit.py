"""JSON that becomes what a program has: checked, with each wrong place named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from penguiflow.checkpoints import Unfit
from penguiflow.failures import text_of

__all__ = ["fitting", "made", "schema_of"]

_PLAIN = (dict, list, str, int, float, bool, type(None))
_MOST = 50
"""Details of one refusal."""


def made(kind: Any, value: Any, at: str = "") -> Any:
    """A value of a type, made of JSON. Raises `Unfit`, with places below `at`."""
    return fitting(lambda: _validated(kind, value), at)


def _validated(kind: Any, value: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        text = to_json(value)
    except PydanticSerializationError:  # a text that is no Unicode
        return adapter.validate_python(value)
    # As JSON, so that strict models take what JSON can say: dates, tuples, bytes.
    return adapter.validate_json(text)


def fitting(make: Callable[[], Any], at: str = "") -> Any:
    """What `make` gives. Raises `Unfit` for all that it raises: validators are user code."""
    try:
        return make()
    except Unfit as unfit:
        raise Unfit([(at + pointer, text) for pointer, text in unfit.details]) from None
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST]
        raise Unfit([(at + _pointer(fault["loc"]), fault["msg"]) for fault in faults]) from None
    except PydanticSchemaGenerationError as error:
        raise Unfit([(at, f"it cannot be made from JSON: {error.message}")]) from None
    except Exception as error:  # whatever a validator of the user raises
        raise Unfit([(at, f"{type(error).__name__}: {text_of(error, str)}")]) from None


def schema_of(kind: Any) -> dict[str, Any] | None:
    """The JSON Schema of a type; None for one that has none, and for plain JSON."""
    if kind is None or kind is Any or kind in _PLAIN:
        return None
    try:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind.model_json_schema()
        return TypeAdapter(kind).json_schema()
    except Exception:  # a user's type may have parts without a schema, or hooks that raise
        return None


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
