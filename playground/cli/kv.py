"""`pf kv`: what the tools of planners keep in sessions (`ctx.kv`), listed, shown, changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.recording.masking import Masker
from penguiflow.recording.masking_key import key_beside
from penguiflow.sessions.kv_editing import SessionKVEditor
from penguiflow.sessions.kv_keys import KVAddress, KVOwner, SessionKVUnavailable
from penguiflow.sessions.kv_store import SessionKVConflict
from penguiflow.sessions.kv_values import KVEntry, nested, unnested
from penguiflow.state.database import DatabaseStore
from playground.cli.console import Console, json_text
from playground.cli.editing import EditorError, NotJson, as_text, edit_text, parse_edited
from playground.cli.failures import ExitCode, Failure
from playground.cli.inputs import read_json
from playground.cli.restore import read_edits
from playground.cli.stop_around import as_value
from playground.cli.stores import reading
from playground.cli.tables import pick_session, print_table
from playground.dashboard.text import many_lines, one_line, when
from playground.host.stopped_values import edited
from playground.loader.inputs import InputRefused
from playground.project import find_project
from playground.storing import has_store, open_store

__all__ = ["KvOutput", "KvPlace", "KvSet", "ValuesOutput", "delete_value", "list_values", "set_value", "show_value"]

MAX_SHORT_CHARS = 200


class KvPlace(NamedTuple):
    """Which value, as it was typed."""

    session: str
    key: str
    namespace: str = ""
    task: str | None = None


class KvSet(NamedTuple):
    """What `pf kv set` was asked for, as it was typed."""

    place: KvPlace
    value: str | None = None
    edits: Sequence[str] = ()
    etag: str | None = None
    json: bool = False


class KvLine(BaseModel):
    """One value."""

    model_config = ConfigDict(extra="forbid")

    session: str
    """`tenant:user:session`."""
    scope: Literal["session", "task"]
    task: str
    """Its id, in the scope `task`; else empty."""
    namespace: str
    key: str
    value: Any
    """Without secrets."""
    etag: str | None
    """Tells what it is of; `pf kv set --etag` names it. None: it was deleted."""
    bytes: int
    updated: float | None
    """Unix seconds."""
    expires: float | None
    """Unix seconds; None: never."""


class ValuesOutput(BaseModel):
    """`pf kv list --json`: what tools keep."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    values: list[KvLine]


class KvOutput(KvLine):
    """`pf kv get --json`, and what is there after `set` and `delete`: one value."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")


class _Values(NamedTuple):
    editor: SessionKVEditor
    masker: Masker

    def masked(self, address: KVAddress, value: Any) -> Any:
        names = (address.namespace, address.key)
        return unnested(self.masker.value(nested(*names, value)), *names)

    def line(self, address: KVAddress, entry: KVEntry | None) -> KvLine:
        return KvLine(
            session=address.session,
            scope=address.scope,
            task=address.task_id,
            namespace=address.namespace,
            key=address.key,
            value=None if entry is None else self.masked(address, entry.value),
            etag=None if entry is None else entry.etag,
            bytes=0 if entry is None else entry.bytes,
            updated=None if entry is None else entry.updated,
            expires=None if entry is None else entry.expires,
        )


def list_values(session: str | None, *, json: bool) -> int:
    """Print what tools keep, in one session or in all; returns the exit code."""

    async def ask() -> list[KvLine]:
        async with reading() as store:
            values = _values(store)
            sessions = await values.editor.sessions()
            if session is not None:
                sessions = [_picked(sessions, session)]
            addresses = [each for key in sessions for each in await values.editor.addresses(key)]
            found = [(address, await values.editor.get(address)) for address in addresses]
            return [values.line(address, entry) for address, entry in found if entry is not None]

    lines, console = asyncio.run(ask()), Console()
    if json:
        console.json(ValuesOutput(schema=1, values=lines).model_dump(mode="json", by_alias=True), indent=2)
        return ExitCode.DONE
    now = time.time()
    head = ("SESSION", "TASK", "NAMESPACE", "KEY", "CHANGED", "VALUE")
    rows = [
        (
            one_line(each.session),
            one_line(each.task),
            one_line(each.namespace),
            one_line(each.key),
            "" if each.updated is None else when(each.updated, now),
            one_line(json_text(each.value))[:MAX_SHORT_CHARS],
        )
        for each in lines
    ]
    print_table(console, head, rows)
    if not lines:
        console.tell("no tool keeps anything: `ctx.kv.set(…)` in a tool of a planner does")
    return ExitCode.DONE


def show_value(place: KvPlace, *, json: bool) -> int:
    """Print one value; returns the exit code."""

    async def ask() -> KvLine:
        async with reading() as store:
            values = _values(store)
            address = await _address(values.editor, place)
            entry = await values.editor.get(address)
            if entry is None:
                raise await _missing(values.editor, address)
            return values.line(address, entry)

    _show(Console(), asyncio.run(ask()), json=json)
    return ExitCode.DONE


def set_value(options: KvSet) -> int:
    """Keep another value, or a new one; returns the exit code."""
    if options.value is not None and options.edits:
        raise Failure("VALUE is the whole of it, --set changes places of what is there: give one of them")
    given = None if options.value is None else _typed(options.value)
    edits = read_edits(options.edits)

    async def change() -> KvLine:
        async with _writing(new=True) as values:
            address = await _address(values.editor, options.place, new=True)
            entry = await values.editor.get(address)
            etag = (None if entry is None else entry.etag) if options.etag is None else options.etag
            plain = None if entry is None else entry.value
            masked = values.masked(address, plain)
            if edits and entry is None:
                raise await _missing(values.editor, address)
            value = given if options.value is not None or edits else await _from_editor(masked)
            try:
                after = edited(value, edits, plain, masked)
            except InputRefused as error:
                hint = "--set /place=VALUE, a JSON Pointer into the value"
                raise Failure(f"--set: {error.details[0]['message']}", hint=hint) from None
            return values.line(address, await values.editor.set(address, after, etag=etag))

    _show(Console(), asyncio.run(_told(change())), json=options.json)
    return ExitCode.DONE


def delete_value(place: KvPlace, *, etag: str | None, json: bool) -> int:
    """Forget one value; returns the exit code."""

    async def change() -> KvLine:
        async with _writing() as values:
            address = await _address(values.editor, place)
            entry = await values.editor.get(address)
            if entry is None:
                raise await _missing(values.editor, address)
            await values.editor.delete(address, etag=entry.etag if etag is None else etag)
            return values.line(address, None)

    line, console = asyncio.run(_told(change())), Console()
    if json:
        _show(console, line, json=True)
    else:
        console.line(f"deleted {one_line(_name(line))} of {one_line(line.session)}")
    return ExitCode.DONE


def _values(store: DatabaseStore) -> _Values:
    return _Values(SessionKVEditor(store), Masker(key_beside(store)))


@asynccontextmanager
async def _writing(*, new: bool = False) -> AsyncIterator[_Values]:
    project = find_project()
    if not new and not has_store(project):
        raise Failure("no tool keeps anything: there are no runs yet", ExitCode.NOT_FOUND)
    store = open_store(project)
    try:
        yield _values(store)
    finally:
        await store.close()


async def _told(work: Any) -> KvLine:
    try:
        line: KvLine = await work
    except SessionKVConflict as error:
        raise Failure(str(error), hint="`pf kv get` shows it as it is now") from None
    except (TypeError, ValueError) as error:
        raise Failure(f"this cannot be kept: {error}") from None
    return line


def _picked(sessions: Sequence[str], session: str) -> str:
    return pick_session(sessions, session, missing="no tool keeps anything in", listing="pf kv")


async def _address(editor: SessionKVEditor, place: KvPlace, *, new: bool = False) -> KVAddress:
    """Where the value is. A new one may be in a session that has none, if all of its key is given."""
    sessions = await editor.sessions()
    try:
        owner = KVOwner.parse(place.session)
    except ValueError:
        if new and not sessions:
            raise Failure(f"{one_line(place.session)} is no session: give tenant:user:session") from None
        owner = KVOwner.parse(_picked(sessions, place.session))
    else:
        if not new and place.session not in sessions:
            _picked(sessions, place.session)
    scope = "session" if place.task is None else "task"
    try:
        return KVAddress.checked(owner, place.key, scope, place.namespace, place.task)
    except (ValueError, SessionKVUnavailable) as error:
        raise Failure(str(error)) from None


async def _missing(editor: SessionKVEditor, address: KVAddress) -> Failure:
    near = [each for each in await editor.addresses(address.session) if each.key == address.key]
    told = [f"--namespace {each.namespace}" if each.namespace else "no --namespace" for each in near]
    hint = f"it is there with {' or '.join(told)}" if told else "`pf kv list SESSION` shows what there is"
    return Failure(f"{one_line(address.session)} has no value {one_line(address.name)}", ExitCode.NOT_FOUND, hint=hint)


def _typed(text: str) -> Any:
    """JSON where it is JSON, `@file`, `-`, else text."""
    return read_json(text, "VALUE") if text == "-" or text.startswith("@") else as_value(text)


async def _from_editor(value: Any) -> Any:
    try:
        return parse_edited(await edit_text(as_text(value)))
    except EditorError as error:
        raise Failure(str(error), hint="or give it: pf kv set SESSION KEY VALUE") from None
    except NotJson as error:
        raise Failure(f"what was written is no JSON: {error}; nothing was changed") from None


def _name(line: KvLine) -> str:
    name = f"{line.namespace}/{line.key}" if line.namespace else line.key
    return name if line.scope == "session" else f"{name} (task {line.task})"


def _show(console: Console, line: KvLine, *, json: bool) -> None:
    if json:
        console.json(KvOutput(schema=1, **line.model_dump()).model_dump(mode="json", by_alias=True), indent=2)
    else:
        console.line(many_lines(json_text(line.value, indent=2)))
