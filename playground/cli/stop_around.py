"""What is around a stopped run, at a terminal: headers, meta and contexts, and what the run remembers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from playground.cli.console import json_text
from playground.cli.failures import Failure
from playground.cli.memory import changes_between
from playground.dashboard.text import many_lines, one_line
from playground.debug_frames import PartName
from playground.protocol import (
    Context,
    ContextEdit,
    ContextGet,
    ContextPart,
    Kv,
    KvEntry,
    KvGet,
    Memory,
    MemoryEdit,
    MemoryGet,
    Stopped,
)
from playground.session import HostSession

__all__ = ["as_pointer", "as_value", "context_text", "edit_context", "edit_memory", "kv_text", "memory_text"]

InEditor = Callable[[Any], Awaitable[Any]]
"""Has somebody edit a value."""


async def context_text(host: HostSession, stop: Stopped) -> str:
    """All parts of what is around it."""
    parts = await _parts(host, stop)
    return "\n".join(f"── {name}\n{_shown(part)}" for name, part in parts.items())


async def memory_text(host: HostSession, stop: Stopped) -> str:
    """What the run remembers of its conversation."""
    shown = await _memory(host, stop)
    return json_text(shown.model_dump(mode="json", exclude={"turn_schema"}), indent=2)


async def kv_text(host: HostSession, stop: Stopped) -> str:
    """What the tools of the run's session keep: `pf kv` changes it."""
    if stop.kv is None:
        raise Failure("it is not known whose values its tools keep", hint="tool_context says it: tenant, user, session")
    answer = await host.debug(KvGet(session=stop.kv))
    assert isinstance(answer, Kv)
    told = [f"── {_called(each)}\n{_value(each)}" for each in answer.entries]
    told += [f"and {answer.more} more"] if answer.more else []
    return "\n".join(told) or f"nothing is kept in {stop.kv}"


async def edit_context(host: HostSession, stop: Stopped, text: str, in_editor: InEditor) -> str:
    """Change a part, at once: `PART` in the editor, or `PART PATH=VALUE`; returns it as it is then."""
    name, _, change = text.partition(" ")
    parts = await _parts(host, stop)
    part = parts.get(name)
    if part is None:
        raise Failure(f"there is no part {one_line(name)!r} here", hint=f"there are {', '.join(parts) or 'none'}")
    if not part.editable:
        raise Failure(f"{name} cannot be edited: {part.why_not or 'nobody said why'}")
    request = ContextEdit(stop=stop.stop, part=cast("PartName", name), version=part.version)
    if change.strip():
        path, equals, value = change.partition("=")
        if not equals:
            raise Failure(f"{one_line(change)} is no PATH=VALUE", hint=f"E {name} tenant=hello")
        request.edits = {as_pointer(path.strip()): as_value(value.strip())}
    elif part.bytes is not None:
        raise Failure(f"{name} is too large for an editor here", hint=f"E {name} PATH=VALUE changes one place")
    else:
        request.value = await in_editor(part.value)
    answer = await host.debug(request)
    assert isinstance(answer, Context)
    return next(_shown(each) for each in answer.parts if each.name == name)


async def edit_memory(host: HostSession, stop: Stopped, text: str, in_editor: InEditor) -> str:
    """Change what the run remembers, at once: `summary=TEXT`, or summary and turns in the editor."""
    shown = await _memory(host, stop)
    if not shown.editable:
        raise Failure("the program's own memory cannot be edited")
    before = {"summary": shown.summary, "turns": [*shown.pending, *shown.turns]}
    if text:
        name, equals, value = text.partition("=")
        if not equals or name.strip() != "summary":
            raise Failure(f"{one_line(text)} is not summary=TEXT", hint="M alone opens summary and turns in $EDITOR")
        after: Any = {**before, "summary": value.strip()}
    else:
        after = await in_editor(before)
    try:
        changes = changes_between(before, after)
    except ValueError as error:
        raise Failure(f"the memory cannot be changed to that: {error}") from None
    for change in changes:
        answer = await host.debug(
            MemoryEdit(
                key=shown.key,
                planner=shown.planner,
                version=shown.version,
                change=change.change,
                turn_id=change.turn_id,
                value=change.value,
            )
        )
        assert isinstance(answer, Memory)
        assert answer.memory is not None
        shown = answer.memory
    return json_text(shown.model_dump(mode="json", exclude={"turn_schema"}), indent=2)


def as_pointer(text: str) -> str:
    """A place as it was typed: a JSON Pointer, or names with dots between them."""
    if text.startswith("/") or not text:
        return text
    return "/" + text.replace("[", ".").replace("]", "").replace(".", "/")


def as_value(text: str) -> Any:
    """JSON where it is JSON, else text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


async def _parts(host: HostSession, stop: Stopped) -> dict[str, ContextPart]:
    answer = await host.debug(ContextGet(stop=stop.stop))
    assert isinstance(answer, Context)
    return {part.name: part for part in answer.parts}


async def _memory(host: HostSession, stop: Stopped) -> Any:
    if stop.memory is None:
        raise Failure("the run has no memory")
    answer = await host.debug(MemoryGet(key=stop.memory))
    assert isinstance(answer, Memory)
    if answer.memory is None:
        raise Failure("nothing is remembered yet")
    return answer.memory


def _shown(part: ContextPart) -> str:
    return f"({part.bytes:,} bytes)" if part.bytes is not None else many_lines(json_text(part.value, indent=2))


def _called(entry: KvEntry) -> str:
    name = f"{entry.namespace}/{entry.key}" if entry.namespace else entry.key
    return one_line(name if entry.scope == "session" else f"{name} (task {entry.task})")


def _value(entry: KvEntry) -> str:
    return f"({entry.bytes:,} bytes)" if entry.cut else many_lines(json_text(entry.value, indent=2))
