"""`pf memory` and `pf sessions`: what planners remember of conversations, and whose runs belong together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.planner.memory.config import MemoryConflict
from penguiflow.planner.memory.editing import MemoryEditor, MemoryView
from penguiflow.planner.memory.turns import dump_turn, load_turn
from penguiflow.recording.pointers import PointerError, assign, parts_of
from penguiflow.state.conversations import SessionSummary
from playground.cli.console import Console
from playground.cli.editing import EditorError, NotJson, as_text, edit_text, parse_edited
from playground.cli.failures import ExitCode, Failure
from playground.cli.restore import read_edits
from playground.cli.stores import reading
from playground.cli.tables import pick_session, print_table
from playground.dashboard.text import many_lines, one_line, when
from playground.project import find_project
from playground.storing import has_store, open_store

__all__ = [
    "EditOptions",
    "MemoriesOutput",
    "MemoryOutput",
    "SessionsOutput",
    "changes_between",
    "clear_memory",
    "edit_memory",
    "list_memories",
    "list_sessions",
    "show_memory",
]

_EDITABLE = ("summary", "turns")


class EditOptions(NamedTuple):
    """What `pf memory edit` was asked for, as it was typed."""

    session: str
    edits: Sequence[str] = ()
    version: int | None = None
    json: bool = False


class Change(NamedTuple):
    """One change of a memory."""

    change: Literal["summary", "turn", "delete_turn"]
    turn_id: str
    """Empty for the summary."""
    value: Any


class MemoryLine(BaseModel):
    """One conversation in a list."""

    model_config = ConfigDict(extra="forbid")

    key: str
    """`tenant:user:session`."""
    version: int
    """Grows with every change."""
    turns: int
    """Those that wait to be summarized are among them."""
    tokens: int
    """Estimated."""
    summary: str


class MemoriesOutput(BaseModel):
    """`pf memory --json`: the conversations that are remembered."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    memories: list[MemoryLine]


class MemoryOutput(BaseModel):
    """`pf memory show --json`, and what is left after `edit` and `clear`: one conversation."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    key: str
    version: int
    """Grows with every change; `pf memory edit --version` names it."""
    summary: str
    turns: list[dict[str, Any]]
    """Oldest first: `{turn_id, user_message, assistant_response, …}`."""
    pending: list[dict[str, Any]]
    """Older, and not in the summary yet."""
    health: str
    tokens: int
    """Estimated."""


class SessionsOutput(BaseModel):
    """`pf sessions --json`: sessions, the one that was active last first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    sessions: list[SessionSummary]


def list_sessions(*, limit: int, json: bool) -> int:
    """Print the sessions; returns the exit code."""
    if limit < 1:
        raise Failure("--limit must be at least 1")

    async def ask() -> list[SessionSummary]:
        async with reading() as store:
            return await store.sessions(limit=limit)

    found = asyncio.run(ask())
    console = Console()
    if json:
        console.json(SessionsOutput(schema=1, sessions=found).model_dump(mode="json", by_alias=True), indent=2)
        return ExitCode.DONE
    now = time.time()
    rows = [
        (
            one_line(each.session),
            f"{each.runs:,}",
            f"{each.failed:,}" if each.failed else "",
            when(each.last, now),
            one_line(", ".join(each.flows)),
            one_line(each.memory or ""),
        )
        for each in found
    ]
    print_table(console, ("SESSION", "RUNS", "FAILED", "LAST", "FLOWS", "MEMORY"), rows)
    if not found:
        console.tell("no sessions: `pf run TARGET --session KEY` makes one")
    return ExitCode.DONE


def list_memories(*, json: bool) -> int:
    """Print the conversations that are remembered; returns the exit code."""

    async def ask() -> list[MemoryView]:
        async with reading() as store:
            editor = MemoryEditor(store)
            return [await editor.get(key) for key in await editor.keys()]

    found = asyncio.run(ask())
    console = Console()
    lines = [
        MemoryLine(
            key=view.key,
            version=view.version,
            turns=len(view.pending) + len(view.turns),
            tokens=view.tokens,
            summary=view.summary,
        )
        for view in found
    ]
    if json:
        console.json(MemoriesOutput(schema=1, memories=lines).model_dump(mode="json", by_alias=True), indent=2)
        return ExitCode.DONE
    rows = [
        (one_line(each.key), str(each.version), f"{each.turns:,}", f"{each.tokens:,}", one_line(each.summary))
        for each in lines
    ]
    print_table(console, ("KEY", "VERSION", "TURNS", "TOKENS", "SUMMARY"), rows)
    if not found:
        console.tell("nothing is remembered")
    return ExitCode.DONE


def show_memory(session: str, *, json: bool) -> int:
    """Print what is remembered of one conversation; returns the exit code."""

    async def ask() -> MemoryView:
        async with reading() as store:
            editor = MemoryEditor(store)
            return await editor.get(await _resolved(editor, session))

    _show(Console(), asyncio.run(ask()), json=json)
    return ExitCode.DONE


def edit_memory(options: EditOptions) -> int:
    """Change what is remembered of one conversation; returns the exit code."""
    _show(Console(), asyncio.run(_edit(options, read_edits(options.edits))), json=options.json)
    return ExitCode.DONE


def clear_memory(session: str, *, version: int | None, json: bool) -> int:
    """Forget one conversation; returns the exit code."""

    async def clear() -> MemoryView:
        async with _writing() as editor:
            view = await editor.get(await _resolved(editor, session))
            return await editor.clear(view.key, version=view.version if version is None else version)

    view = asyncio.run(_told(clear()))
    console = Console()
    if json:
        _show(console, view, json=True)
    else:
        console.line(f"forgot {one_line(view.key)}")
    return ExitCode.DONE


async def _edit(options: EditOptions, edits: dict[str, Any]) -> MemoryView:
    async with _writing() as editor:
        view = await editor.get(await _resolved(editor, options.session))
        if options.version is not None and options.version != view.version:
            raise _conflict(view.key, options.version, view.version)
        before = _document(view)
        after = _with_edits(before, edits) if edits else await _from_editor(before)
        return await _told(_apply(editor, view, before, after))


async def _told(work: Any) -> MemoryView:
    try:
        view: MemoryView = await work
    except MemoryConflict as error:
        raise Failure(str(error), hint="`pf memory show` shows it as it is now") from None
    except (LookupError, ValueError, TypeError) as error:
        raise Failure(f"the memory cannot be changed to that: {error}") from None
    return view


async def _apply(editor: MemoryEditor, view: MemoryView, before: dict[str, Any], after: Any) -> MemoryView:
    """Do what makes one of the other."""
    for change, turn_id, value in changes_between(before, after):
        if change == "summary":
            view = await editor.edit_summary(view.key, value, version=view.version)
        elif change == "delete_turn":
            view = await editor.delete_turn(view.key, turn_id, version=view.version)
        else:
            view = await editor.replace_turn(view.key, turn_id, load_turn(value), version=view.version)
    return view


def changes_between(before: dict[str, Any], after: Any) -> list[Change]:
    """What makes one of the other: a summary, turns that are others, turns that are gone. Raises `ValueError`."""
    if not isinstance(after, dict) or not isinstance(after.get("turns"), list):
        raise ValueError("it is an object with `summary` and `turns`")
    if unknown := after.keys() - set(_EDITABLE):
        raise ValueError(f"there is no {', '.join(sorted(unknown))} that could be changed")
    if not isinstance(after.get("summary"), str):
        raise ValueError("the summary is text")
    was = {turn["turn_id"]: turn for turn in before["turns"]}
    now = {turn.turn_id: dump_turn(turn) for turn in map(load_turn, after["turns"])}
    if new := now.keys() - was.keys():
        raise ValueError(f"turns cannot be added ({', '.join(sorted(new))!r} was not there)")
    changes = [Change("summary", "", after["summary"])] if after["summary"] != before["summary"] else []
    for turn_id, turn in was.items():
        if turn_id not in now:
            changes.append(Change("delete_turn", turn_id, None))
        elif now[turn_id] != turn:
            changes.append(Change("turn", turn_id, now[turn_id]))
    return changes


def _document(view: MemoryView) -> dict[str, Any]:
    return {"summary": view.summary, "turns": [dump_turn(turn) for turn in (*view.pending, *view.turns)]}


def _with_edits(document: dict[str, Any], edits: dict[str, Any]) -> dict[str, Any]:
    changed = deepcopy(document)
    for place, value in edits.items():
        try:
            assign(changed, parts_of(place), value)
        except PointerError as error:
            raise Failure(f"--set: {error}", hint="--set /summary=…, --set /turns/0/user_message=…") from None
    return changed


async def _from_editor(document: dict[str, Any]) -> Any:
    try:
        return parse_edited(await edit_text(as_text(document)))
    except EditorError as error:
        raise Failure(str(error), hint="or change it with --set /summary=…") from None
    except NotJson as error:
        raise Failure(f"what was written is no JSON: {error}; nothing was changed") from None


@asynccontextmanager
async def _writing() -> AsyncIterator[MemoryEditor]:
    project = find_project()
    if not has_store(project):
        raise Failure("nothing is remembered: there are no runs yet", ExitCode.NOT_FOUND)
    store = open_store(project)
    try:
        yield MemoryEditor(store, by="pf memory")
    finally:
        await store.close()


async def _resolved(editor: MemoryEditor, session: str) -> str:
    """The key of a conversation: all of it, its session alone, or the beginning of either that no other has."""
    keys = await editor.keys()
    return pick_session(keys, session, missing="nothing is remembered of", listing="pf memory")


def _conflict(key: str, wanted: int, found: int) -> Failure:
    told = f"the memory of {one_line(key)} has version {found}, and not {wanted}: somebody has changed it"
    return Failure(told, hint="`pf memory show` shows it as it is now")


def _show(console: Console, view: MemoryView, *, json: bool) -> None:
    if json:
        output = MemoryOutput(
            schema=1,
            key=view.key,
            version=view.version,
            summary=view.summary,
            turns=[dump_turn(turn) for turn in view.turns],
            pending=[dump_turn(turn) for turn in view.pending],
            health=view.health.value,
            tokens=view.tokens,
        )
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
        return
    paint = console.out_paint
    head = [f"version {view.version}", f"{view.tokens:,} tokens", view.health.value]
    console.line(f"{paint('bold', one_line(view.key))}  {paint('dim', '  '.join(head))}")
    if view.summary:
        console.line(paint("dim", "── summary"))
        console.line(many_lines(view.summary))
    for number, turn in enumerate((*view.pending, *view.turns)):
        waits = " (not in the summary yet)" if number < len(view.pending) else ""
        console.line(paint("dim", f"── turn {number} {one_line(turn.turn_id)}{waits}"))
        console.line(f"{paint('dim', 'user:')} {many_lines(turn.user_message)}")
        console.line(f"{paint('dim', 'answer:')} {many_lines(turn.assistant_response)}")
