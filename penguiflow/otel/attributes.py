"""What a span of the event log is in OpenTelemetry's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind
from pydantic_core import to_json

from penguiflow.otel import names

__all__ = [
    "CALLS",
    "Attributes",
    "address_attributes",
    "call_content",
    "end_attributes",
    "flat",
    "span_kind",
    "span_name",
    "start_attributes",
]

Attributes = dict[str, Any]
_INT64 = 1 << 63
CALLS = {"llm": names.CHAT, "tool": names.EXECUTE_TOOL, "remote": names.INVOKE_AGENT}
"""Kinds of spans that leave the process, and their operation."""
_OPERATIONS = {
    **CALLS,
    "trace": names.INVOKE_WORKFLOW,
    "playbook": names.INVOKE_WORKFLOW,
    "planner": names.INVOKE_AGENT,
}
_NAMED = {
    "trace": names.WORKFLOW,
    "playbook": names.WORKFLOW,
    "planner": names.AGENT,
    "remote": names.AGENT,
    "tool": names.TOOL,
    "node": names.NODE,
    "attempt": names.NODE,
}
_CONTENT = {
    "llm": (names.INPUT_MESSAGES, names.OUTPUT_MESSAGES),
    "tool": (names.TOOL_ARGUMENTS, names.TOOL_RESULT),
}
_START = {
    "model": names.REQUEST_MODEL,
    "temperature": names.REQUEST_TEMPERATURE,
    "max_tokens": names.REQUEST_MAX_TOKENS,
    "top_p": names.REQUEST_TOP_P,
    "provider": names.PROVIDER,
    "call_id": names.TOOL_CALL,
    "message_id": names.MESSAGE_ID,
    "attempt": names.ATTEMPT,
    "session": names.CONVERSATION,
    "target": names.TARGET,
    "version": names.VERSION,
}
_END = {
    "model": names.RESPONSE_MODEL,
    "response_id": names.RESPONSE_ID,
    "finish_reasons": names.FINISH_REASONS,
    "cost": names.COST,
    "replayed": names.REPLAYED,
    "version": names.VERSION,
}


def span_name(kind: str, name: str, data: Mapping[str, Any]) -> str:
    """`chat gpt-5`, `execute_tool search`, `invoke_workflow triage`, `node summarize` …"""
    about = data.get("model") if kind == "llm" and isinstance(data.get("model"), str) else name
    return f"{_OPERATIONS.get(kind, kind)} {about}".rstrip()


def span_kind(kind: str) -> SpanKind:
    """Models and remote agents are called; the rest happens inside."""
    return SpanKind.CLIENT if kind in ("llm", "remote") else SpanKind.INTERNAL


def start_attributes(kind: str, name: str, data: Mapping[str, Any]) -> Attributes:
    """What is known when a span begins; nothing of what people wrote."""
    found: Attributes = {names.KIND: kind}
    if kind in _OPERATIONS:
        found[names.OPERATION] = _OPERATIONS[kind]
    if kind in _NAMED:
        found[_NAMED[kind]] = name
    request = data.get("request")
    told = {**_settings(request), **data} if kind == "llm" else data
    found.update(_renamed(told, _START))
    if kind == "llm":
        found.setdefault(names.REQUEST_MODEL, name)
    if kind == "remote":
        found.update(address_attributes(data.get("agent_url") or _settings(request).get("agent_url")))
    origin = data.get("origin")
    if kind == "trace" and isinstance(origin, Mapping):
        found[names.ORIGIN] = str(origin.get("trace_id"))
    return found


def end_attributes(kind: str, data: Mapping[str, Any]) -> Attributes:
    """What is known when a span has ended; nothing of what people wrote."""
    found: Attributes = {names.STATUS: str(data.get("status", "ok")), **_renamed(data, _END)}
    usage = data.get("usage")
    if not isinstance(usage, Mapping):
        usage = _settings(data.get("response")).get("usage")
    if kind == "llm":
        told: Mapping[str, Any] = usage if isinstance(usage, Mapping) else data
        found.update(_renamed(told, {"input_tokens": names.INPUT_TOKENS, "output_tokens": names.OUTPUT_TOKENS}))
    error = data.get("error")
    if isinstance(error, Mapping):
        found[names.ERROR_TYPE] = _error_type(error)
    elif found[names.STATUS] != "ok":
        found[names.ERROR_TYPE] = found[names.STATUS]
    return found


def call_content(kind: str, data: Mapping[str, Any], *, most: int) -> Attributes:
    """Request and answer, for those who asked for content: JSON texts of at most `most` characters."""
    asked, answered = _CONTENT.get(kind, (names.REQUEST, names.RESPONSE))
    return {
        name: json_text(data[key], most)
        for key, name in (("request", asked), ("response", answered))
        if data.get(key) is not None
    }


def json_text(value: Any, most: int) -> str:
    """A value as JSON, cut."""
    text = to_json(value).decode()
    return text if len(text) <= most else text[:most] + "…"


def flat(data: Mapping[str, Any]) -> Attributes:
    """The scalars of an event's data, under names of our own."""
    scalars = ((key, value) for key, value in data.items() if isinstance(value, str | int | float | bool))
    return {names.PREFIX + key: _scalar(value) for key, value in scalars}


def exception_attributes(error: Mapping[str, Any]) -> Attributes:
    """An error as the event `exception` has it."""
    found = {names.EXCEPTION_TYPE: _error_type(error), names.EXCEPTION_MESSAGE: str(error.get("message", ""))}
    if isinstance(error.get("traceback"), str):
        found[names.EXCEPTION_STACKTRACE] = error["traceback"]
    return found


def _error_type(error: Mapping[str, Any]) -> str:
    return str(error.get("exception_type") or error.get("type") or error.get("code") or "_OTHER")


def _renamed(data: Mapping[str, Any], known: Mapping[str, str]) -> Attributes:
    return dict(_pairs(data, known))


def _pairs(data: Mapping[str, Any], known: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for key, name in known.items():
        value = data.get(key)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            yield name, value
        elif isinstance(value, str | int | float | bool):
            yield name, _scalar(value)


def _scalar(value: str | int | float | bool) -> str | int | float | bool:
    """Integers have 64 bits there; longer ones become texts."""
    return str(value) if isinstance(value, int) and not -_INT64 <= value < _INT64 else value


def _settings(payload: Any) -> Mapping[str, Any]:
    """What a stored request or answer says by name: `{"type", "value"}`, perhaps around it."""
    value = payload.get("value", payload) if isinstance(payload, Mapping) else payload
    return value if isinstance(value, Mapping) else {}


def address_attributes(url: Any) -> Attributes:
    """Host and port of an agent."""
    if not isinstance(url, str):
        return {}
    try:
        parts = urlsplit(url)
        found: Attributes = {names.SERVER_ADDRESS: parts.hostname} if parts.hostname else {}
        if parts.port is not None:
            found[names.SERVER_PORT] = parts.port
    except ValueError:  # what somebody wrote is no address
        return {}
    return found
