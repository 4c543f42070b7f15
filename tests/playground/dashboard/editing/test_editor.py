from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import OptionList

from playground.dashboard.editing.editor import MAX_HERE, EditorScreen, Subject
from playground.dashboard.editing.external import EditorFailed, editor_command

OpenDesk = Callable[..., Any]
SCHEMA = {
    "type": "object",
    "properties": {
        "tool": {"enum": ["fetch", "search"]},
        "args": {
            "type": "object",
            "properties": {"url": {"type": "string", "minLength": 1}, "tries": {"type": "integer"}},
            "required": ["url"],
        },
    },
    "required": ["tool", "args"],
}
VALUE = {"tool": "fetch", "args": {"url": "b"}}


class Opened:
    """An editor on a desk, and what was applied."""

    def __init__(self, desk: Any, screen: EditorScreen) -> None:
        self.desk = desk
        self.screen = screen
        self.applied: list[Any] = []
        self.answers: list[bool | None] = []
        self.refusals: list[list[dict[str, Any]]] = []

    async def take(self, value: Any) -> list[dict[str, Any]]:
        self.applied.append(value)
        return self.refusals.pop(0) if self.refusals else []

    @property
    def area(self) -> Any:
        return self.screen._area

    async def see(self, text: str) -> None:
        await self.desk.until(lambda: text in self.desk.text(), text)


@pytest.fixture
def edit(open_desk: OpenDesk) -> Callable[..., Any]:
    @asynccontextmanager
    async def opened(subject: Subject, **more: Any) -> Any:
        async with open_desk(size=(120, 40)) as desk:
            found: list[Opened] = []
            screen = EditorScreen(subject, lambda value: found[0].take(value), **more)
            found.append(Opened(desk, screen))
            desk.app.push_screen(screen, found[0].answers.append)
            await desk.until(lambda: desk.app.screen is screen and screen.is_mounted, "the editor")
            await desk.frame()
            yield found[0]

    return opened


async def test_what_fits_is_applied(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        await editor.see("fits the schema · unchanged")
        editor.area.move_cursor((3, 12))
        await editor.desk.press("a")
        await editor.see("fits the schema · changed")
        await editor.desk.press("ctrl+s")
        await editor.desk.until(lambda: editor.answers, "the end")
        assert editor.applied == [{"tool": "fetch", "args": {"url": "ab"}}]
        assert editor.answers == [True]


async def test_what_does_not_fit_cannot_be_applied(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        editor.area.move_cursor((3, 13))
        await editor.desk.press("backspace")
        await editor.see("line 4, /args/url: needs at least 1 characters  (properties/args/properties/url/minLength)")
        await editor.desk.press("ctrl+s")
        assert editor.applied == []
        await editor.desk.press("ctrl+z")
        await editor.see("unchanged")
        await editor.desk.press("ctrl+y")
        await editor.see("needs at least 1")
        editor.area.move_cursor((3, 13))
        await editor.desk.press("backspace")
        await editor.see("✖ line 4, column")
        await editor.desk.press("ctrl+s")
        assert editor.applied == []
        assert editor.answers == []


async def test_keys_and_values_are_completed(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        popup = editor.screen.query_one(OptionList)
        editor.area.move_cursor((1, 11))
        await editor.desk.press(*["delete"] * 7, "ctrl+at")
        await editor.desk.until(lambda: popup.has_class("-open"), "the list")
        await editor.see('"search"')
        await editor.desk.press("down", "enter")
        assert editor.area.document.get_line(1) == '  "tool": "search"'
        await editor.desk.press("comma")
        editor.area.move_cursor((3, 14))
        await editor.desk.press("comma", "enter", "t", "tab")
        assert editor.area.document.get_line(4) == '    "tries": '
        await editor.desk.press("3", "ctrl+s")
        await editor.desk.until(lambda: editor.answers, "the end")
        assert editor.applied == [{"tool": "search", "args": {"url": "b", "tries": 3}}]


async def test_a_list_narrows_as_one_types_and_escape_closes_it(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", {}, SCHEMA)) as editor:
        popup = editor.screen.query_one(OptionList)
        editor.area.move_cursor((0, 1))
        await editor.desk.press("tab")
        await editor.desk.until(lambda: popup.option_count == 2, "two keys")
        await editor.desk.press("quotation_mark", "a")
        await editor.desk.until(lambda: popup.option_count == 1, "one key")
        await editor.desk.press("escape")
        await editor.desk.until(lambda: not popup.has_class("-open"), "no list")
        assert editor.answers == []


async def test_what_is_complete_can_be_replaced(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        popup = editor.screen.query_one(OptionList)
        editor.area.move_cursor((1, 14))
        await editor.desk.press("ctrl+@")
        await editor.desk.until(lambda: popup.option_count == 2 and popup.has_class("-open"), "both")
        await editor.desk.press("down", "tab")
        assert editor.area.document.get_line(1) == '  "tool": "search",'


async def test_tab_indents_where_nothing_is_known(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", {"a": 1}, None)) as editor:
        await editor.desk.press("tab")
        assert editor.area.text.startswith("  {")


async def test_changes_are_shown_before_they_are_applied(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        editor.area.move_cursor((3, 12))
        await editor.desk.press("a", "ctrl+d")
        await editor.see('-     "url": "b"')
        await editor.see('+     "url": "ab"')
        await editor.desk.press("escape")
        await editor.see("ctrl+d changes")
        assert editor.answers == []


async def test_escape_asks_only_when_something_changed(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        await editor.desk.press("space", "escape")
        await editor.see("esc again drops it")
        assert editor.answers == []
        await editor.desk.press("escape")
        await editor.desk.until(lambda: editor.answers == [False], "the end")
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        await editor.desk.press("escape")
        await editor.desk.until(lambda: editor.answers == [False], "the end")


async def test_what_the_host_refuses_stays_and_is_told(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, None)) as editor:
        editor.refusals.append([{"path": "/args/url", "message": "no such page"}])
        await editor.desk.press("ctrl+s")
        await editor.see("✖ /args/url: no such page")
        assert editor.answers == []
        await editor.desk.press("ctrl+s")
        await editor.desk.until(lambda: editor.answers == [True], "the end")


async def test_text_is_edited_as_it_is(edit: Callable[..., Any]) -> None:
    async with edit(Subject("summary", "one\ntwo", plain=True)) as editor:
        await editor.desk.press("x", "ctrl+s")
        await editor.desk.until(lambda: editor.answers, "the end")
        assert editor.applied == ["xone\ntwo"]


async def test_control_characters_do_not_reach_the_screen(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", "a\x1b[31mb\u202e", plain=True)) as editor:
        text = editor.desk.text()
        assert "\x1b" not in text
        assert "\u202e" not in text


# -- another editor ---------------------------------------------------------------------------------------------------


def test_an_editor_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "no-such-editor -w")
    with pytest.raises(EditorFailed, match="no command no-such-editor"):
        editor_command()
    monkeypatch.setenv("EDITOR", '"')
    with pytest.raises(EditorFailed, match="cannot be read"):
        editor_command()
    monkeypatch.setenv("VISUAL", "sh -c true")
    assert editor_command() == ["sh", "-c", "true"]


@pytest.fixture
def suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no terminal in a test that could be given away."""
    from contextlib import nullcontext

    monkeypatch.setattr("textual.app.App.suspend", lambda self: nullcontext())


def script(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(path))


def is_there(name: str) -> bool:
    return Path(name).exists()


async def test_an_editor_of_the_system_is_used(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suspended: None
) -> None:
    note = tmp_path / "note"
    script(tmp_path / "ed", f'ls -l "$1" > {note}; echo "$1" >> {note}; sed -i s/\\"b\\"/\\"c\\"/ "$1"', monkeypatch)
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        await editor.desk.press("ctrl+o")
        await editor.desk.until(lambda: '"c"' in editor.area.text, "the new text")
        await editor.desk.press("ctrl+s")
        await editor.desk.until(lambda: editor.answers, "the end")
    mode, name = note.read_text().splitlines()
    assert mode.startswith("-rw-------")
    assert name.endswith(".json")
    assert not is_there(name)
    assert editor.applied[0]["args"] == {"url": "c"}


async def test_an_editor_that_fails_changes_nothing(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suspended: None
) -> None:
    script(tmp_path / "ed", 'echo nonsense > "$1"; exit 3', monkeypatch)
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        await editor.desk.press("ctrl+o")
        await editor.see("ended with 3: nothing was changed")
        assert "nonsense" not in editor.area.text


async def test_without_a_terminal_it_says_so(edit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "true")
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        await editor.desk.press("ctrl+o")
        await editor.see("no terminal here to give to an editor")


async def test_what_is_large_goes_to_the_other_editor_at_once(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suspended: None
) -> None:
    script(tmp_path / "ed", """printf '{"text": "short"}' > "$1" """, monkeypatch)
    async with edit(Subject("edit", {"text": "x" * MAX_HERE}, None)) as editor:
        await editor.see("valid JSON · changed")
        await editor.see("too large to be edited here")
        await editor.desk.press("ctrl+s")
        await editor.desk.until(lambda: editor.answers, "the end")
    assert editor.applied == [{"text": "short"}]


async def test_keys_that_come_at_once_keep_their_order(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        keys = ["down", "down", "down", "end", *["backspace"] * 2, *'new"', "ctrl+s"]
        for key in keys:
            editor.desk.app.post_message(key_event(key))
        await editor.desk.until(lambda: editor.answers, "the end")
        assert editor.applied == [{"tool": "fetch", "args": {"url": "new"}}]


def key_event(key: str) -> events.Key:
    return events.Key(key if len(key) > 1 else "quotation_mark" if key == '"' else key, key if len(key) == 1 else None)


async def test_the_beginning_and_the_end_are_a_key_away(edit: Callable[..., Any]) -> None:
    async with edit(Subject("edit", VALUE, SCHEMA)) as editor:
        await editor.desk.press("ctrl+end")
        assert editor.area.cursor_location == editor.area.document.end
        # In one burst with what is typed there.
        await editor.desk.press("ctrl+home", "x")
        assert editor.area.text.startswith("x{")
        await editor.desk.press("ctrl+end", "y")
        assert editor.area.text.endswith("y")
