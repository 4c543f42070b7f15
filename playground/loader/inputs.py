"""The input of something that can be run: its model, its schema, and the checks that name each wrong field."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from penguiflow import Message, ModelRegistry, PenguiFlow

MAX_DETAILS = 50


class InputRefused(Exception):
    """The input does not fit; `details` has `{path, message}` for each field, paths as JSON Pointers."""

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__(f"the input does not fit the model: {summarize(details)}")
        self.details = details


def summarize(details: list[dict[str, Any]]) -> str:
    """The first few problems, on one line."""
    shown = "; ".join(f"{detail['path'] or '/'}: {detail['message']}" for detail in details[:3])
    return f"{shown}; and {len(details) - 3} more" if len(details) > 3 else shown


def session_of(value: Any) -> str | None:
    """The session that an input, as JSON, names where planners look for it: `tool_context.session_id`."""
    context = value.get("tool_context") if isinstance(value, dict) else None
    session = context.get("session_id") if isinstance(context, dict) else None
    return session if isinstance(session, str) and session.strip() else None


class Input:
    """What something takes, and how it wants to get it."""

    def __init__(self, annotation: Any, *, bare: bool = False, arguments: bool = False) -> None:
        self.annotation = annotation
        """A model or type; `Any` when anything goes."""
        self.bare = bare
        """The payload goes in without an envelope."""
        self.arguments = arguments
        """The model's fields are the arguments of a function."""
        self.adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    @property
    def type_name(self) -> str | None:
        """How people know the type; None when anything goes."""
        if self.annotation is Any:
            return None
        return self.annotation.__name__ if isinstance(self.annotation, type) else str(self.annotation)

    def schema(self) -> dict[str, Any] | None:
        """JSON Schema; None when anything goes, or when the type has none."""
        if self.annotation is Any:
            return None
        try:
            return self.adapter.json_schema()
        except Exception:  # a user's type may have parts with no schema, or hooks that raise
            return None

    def validate(self, value: Any) -> Any:
        """The value as the model wants it. Raises `InputRefused`."""
        try:
            # JSON mode, so that strict models take what JSON can say: dates, tuples, bytes.
            return self.adapter.validate_json(pydantic_core.to_json(value))
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_DETAILS]
            raise InputRefused([{"path": pointer(item["loc"]), "message": item["msg"]} for item in found]) from None


def pointer(location: tuple[int | str, ...]) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def flow_input(flow: PenguiFlow, registry: ModelRegistry | None) -> Input:
    """What the first entry node of a flow takes."""
    if not flow.ingress:
        return Input(Any)
    node = flow.ingress[0]
    name = str(node.name)
    if registry is not None and registry.has(name) and node.policy.validate != "none":
        model = registry.models(name)[0]
        return Input(Any if issubclass(model, Message) else model)
    annotation = first_annotation(node.func)
    if annotation is Any or (isinstance(annotation, type) and issubclass(annotation, Message)):
        return Input(Any)
    # Nobody takes an envelope off for a node that is not registered.
    return Input(annotation, bare=True)


def function_input(function: Callable[..., Any]) -> Input:
    """What a function takes: its one model, or a model made from its parameters."""
    hints = hints_of(function)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind not in _VARIADIC]
    if len(parameters) == 1 and parameters[0].default is inspect.Parameter.empty:
        annotation = hints.get(parameters[0].name, Any)
        if annotation is Any or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return Input(annotation)
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is inspect.Parameter.empty else p.default) for p in parameters
    }
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    name = getattr(function, "__name__", "call")
    return Input(create_model(f"{name}_arguments", __config__=config, **fields), arguments=True)


def first_annotation(function: Callable[..., Any]) -> Any:
    """The annotation of the first parameter, `Any` without one."""
    parameters = list(inspect.signature(function).parameters)
    return hints_of(function).get(parameters[0], Any) if parameters else Any


def return_annotation(function: Callable[..., Any]) -> Any:
    """What a function says it returns, `Any` when it does not say."""
    return hints_of(function).get("return", Any)


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations; none when they do not resolve."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation is user code that may not resolve
        return {}


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
