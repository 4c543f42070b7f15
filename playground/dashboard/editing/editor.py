"""The editor: a value as JSON, checked as one types, applied only when it fits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from rich.text import Text as RichText
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Label, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from playground.dashboard.closing import ClosesOnce
from playground.dashboard.editing.changes import diff
from playground.dashboard.editing.external import EditorFailed, edit_externally
from playground.dashboard.editing.jsonarea import JsonArea
from playground.dashboard.editing.jsontext import Spot, line_of, locate, read, spot, write
from playground.dashboard.editing.schemas import Choice, Fault, choices, faults
from playground.dashboard.text import clip, one_line, size, unseen_escaped

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp

MAX_HERE = 200_000
"""Characters; a larger text goes to the editor of the system at once."""
QUICK = 20_000
"""Up to so many characters are checked with each key, more after a short rest."""
REST_S = 0.25
MAX_TOLD = 4
"""Faults that are shown at once."""
POPUP_ROWS = 8
WIDE = 100
LOW = 14
POPUP_CELLS = 60

Refusals = Sequence[dict[str, Any]]
Apply = Callable[[Any], Awaitable[Refusals]]
"""Takes the new value; gives what is wrong with it as `{path, message}`, nothing when it was taken."""


class Subject(NamedTuple):
    """What is edited."""

    title: str
    value: Any
    schema: dict[str, Any] | None = None
    about: str = ""
    """One line: what will become of it."""
    plain: bool = False
    """Text as it is, and no JSON; then the value is a `str`."""
    before: Any = ...
    """What changes are counted from, where that is not `value`."""


class EditorScreen(ClosesOnce, ModalScreen[bool]):
    """Gives True when the value was applied."""

    DEFAULT_CSS = """
    EditorScreen { align: center middle; background: $background 70%; layers: base popup; }
    EditorScreen > Vertical {
        width: 96%; height: 96%; border: heavy $frame; padding: 0 1; background: $background; layer: base;
    }
    EditorScreen JsonArea { height: 1fr; border: none; padding: 0; background: $background; }
    EditorScreen #diff { height: 1fr; display: none; overflow-y: auto; }
    EditorScreen.-diff JsonArea { display: none; }
    EditorScreen.-diff #diff { display: block; }
    EditorScreen .line { width: 1fr; height: auto; max-height: 5; }
    EditorScreen #about, EditorScreen #keys { color: $note; max-height: 2; }
    EditorScreen.-low #about, EditorScreen.-low #keys { display: none; }
    EditorScreen.-low .line { max-height: 2; }
    EditorScreen .error { color: $text-error; }
    EditorScreen .ok { color: $text-success; }
    EditorScreen OptionList {
        layer: popup; position: absolute; display: none; width: 62; height: auto; max-height: 10; border: round $frame;
        padding: 0; background: $background;
    }
    EditorScreen OptionList.-open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("ctrl+s", "apply", "Apply", show=False),
        Binding("ctrl+d", "diff", "Changes", show=False),
        Binding("ctrl+o", "external", "Editor", show=False),
    ]

    def __init__(self, subject: Subject, apply: Apply, *, refused: Refusals = ()) -> None:
        """`refused` is what was wrong with the value when it was tried."""
        super().__init__()
        self._subject = subject
        self._apply = apply
        self._refused = list(refused)
        self._text = str(subject.value) if subject.plain else write(subject.value)
        """What it was; of a text that is too large to be shown, what it is."""
        before = subject.value if subject.before is ... else subject.before
        self._original = str(before) if subject.plain else write(before)
        self._large = len(self._text) > MAX_HERE
        self._checking: Timer | None = None
        self._faults: list[Fault] = []
        self._problem = ""
        self._spot: Spot | None = None
        self._choices: list[Choice] = []
        self._leaving = False
        self._busy = False

    @property
    def _app(self) -> DashboardApp:
        return cast("DashboardApp", self.app)

    def compose(self) -> ComposeResult:
        """The text, and what is to be said of it."""
        subject = self._subject
        with Vertical() as box:
            box.border_title = one_line(subject.title)
            if subject.about:
                yield Label(Content(one_line(subject.about)), id="about", classes="line")
            shown = f"{size(len(self._text))}: too large to be edited here." if self._large else self._text
            area = JsonArea(shown, self._app.palette, json=not subject.plain and not self._large,
                            first=self._takes, id="text")  # fmt: skip
            area.read_only = self._large
            yield area
            yield Static("", id="diff")
            yield Label("", id="message", classes="line")
            yield Label("", id="keys", classes="line")
        yield OptionList(id="popup")

    def on_resize(self) -> None:
        """What is said beside the text depends on the room."""
        self._keys()

    def on_mount(self) -> None:
        """Ready to type; what is too large goes on to the other editor."""
        self.set_focus(self._area)
        self._keys()
        self._check()
        if self._large:
            self.call_after_refresh(self.action_external)

    @property
    def _area(self) -> JsonArea:
        return self.query_one(JsonArea)

    @property
    def _popup(self) -> OptionList:
        return self.query_one(OptionList)

    @property
    def text(self) -> str:
        """What stands there now."""
        return self._text if self._large else self._area.text

    def _keys(self) -> None:
        complete = "" if self._subject.plain or self._large else " · tab completes"
        # The text is what it is about: where there is hardly room for it, nothing else has any.
        self.set_class(self.app.size.height < LOW, "-low")
        wide = self.app.size.width >= WIDE
        if wide and not self._large:
            complete += " · ctrl+z undo · ctrl+y redo"
        back = "ctrl+d text" if self.has_class("-diff") else "ctrl+d changes"
        self.query_one("#keys", Label).update(
            Content(f"ctrl+s applies{complete} · {back} · ctrl+o $EDITOR · esc{' leaves' if wide else ''}")
        )

    # -- checking -------------------------------------------------------------------------------------------------

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Something was typed: check it, and narrow what may be completed."""
        self._leaving = False
        self._refused = []
        if self._checking is not None:
            self._checking.stop()
            self._checking = None
        if len(self._area.text) <= QUICK:
            self._check()
        else:
            self._checking = self.set_timer(REST_S, self._check)
        if self._popup.has_class("-open"):
            self._complete(forced=True, only_narrow=True)

    def _read(self) -> tuple[Any, str]:
        """The value, and what is wrong with it; empty when nothing is."""
        text = self.text
        self._faults = []
        if self._subject.plain:
            value: Any = text
        else:
            value, problem = read(text)
            if problem is not None:
                line, column = line_of(text, problem.offset)
                return None, f"line {line + 1}, column {column + 1}: {problem.message}"
        # Boundary: the schema is the user's, and may be anything.
        try:
            self._faults = faults(value, self._subject.schema)
        except Exception as error:
            return value, f"the schema cannot be read: {type(error).__name__}: {error}"
        told = [self._told(fault, text) for fault in self._faults[:MAX_TOLD]]
        if len(self._faults) > MAX_TOLD:
            told.append(f"and {len(self._faults) - MAX_TOLD} more")
        return value, "\n".join(told)

    def _told(self, fault: Fault, text: str) -> str:
        line = "" if self._subject.plain else f"line {line_of(text, locate(text, fault.parts))[0] + 1}, "
        return f"{line}{fault.pointer or 'the value'}: {fault.message}  ({fault.rule})"

    def _check(self) -> None:
        self._checking = None
        _, self._problem = self._read()
        message = self.query_one("#message", Label)
        refused = [f"{each.get('path') or 'it'}: {each.get('message', '')}" for each in self._refused[:MAX_TOLD]]
        bad = self._problem or "\n".join(refused)
        if bad:
            message.update(Content("\n".join(f"✖ {one_line(line)}" for line in bad.split("\n"))))
        else:
            changed = self.text != self._original
            fits = "" if self._subject.plain else "valid JSON" if self._subject.schema is None else "fits the schema"
            state = "changed" if changed else "unchanged"
            message.update(Content(f"✔ {fits} · {state}" if fits else f"✔ {state}"))
        message.set_class(bool(bad), "error")
        message.set_class(not bad, "ok")

    # -- completing -----------------------------------------------------------------------------------------------

    def on_json_area_complete(self, event: JsonArea.Complete) -> None:
        """Tab or ctrl+space."""
        self._complete(forced=event.forced)

    def _offset(self) -> int:
        row, column = self._area.cursor_location
        lines = self._area.text.split("\n")
        return sum(len(line) + 1 for line in lines[:row]) + column

    def _complete(self, *, forced: bool, only_narrow: bool = False) -> None:
        """Show what may stand here; put it in when there is only one thing. Tab indents where there is nothing."""
        found = spot(self._area.text, self._offset())
        offered: list[Choice] = []
        if found is not None:
            # Boundary: the schema is the user's, and may be anything.
            try:
                offered = choices(self._subject.schema, found.parts, found.wants, found.present)
            except Exception:
                offered = []
            whole = self._area.text[found.start : found.end]
            # What is complete already is there to be replaced: everything is offered.
            typed = "" if any(each.text == whole for each in offered) else found.typed.strip('"').lower()
            offered = [each for each in offered if typed in each.text.lower()]
            offered.sort(key=lambda each: not each.text.strip('"').lower().startswith(typed))
        self._spot, self._choices = found, offered
        if not offered or (only_narrow and found is not None and offered[0].text == found.typed):
            self._close_popup()
            if not only_narrow and not forced:
                self._area.insert("  ")
            elif not only_narrow:
                self.query_one("#message", Label).update(Content("nothing is known of what may stand here"))
        elif len(offered) == 1 and not only_narrow:
            self._put(offered[0])
        else:
            self._open_popup()

    def _open_popup(self) -> None:
        popup = self._popup
        popup.clear_options()
        width = min(max(len(each.text) for each in self._choices), 30)
        lines = [f"{one_line(each.text):<{width}}  {one_line(each.about)}".rstrip() for each in self._choices]
        popup.add_options(Option(Content(clip(line, POPUP_CELLS))) for line in lines)
        columns = min(max(len(line) for line in lines), POPUP_CELLS) + 4
        popup.styles.width = columns
        now = "" if self._spot is None else self._area.text[self._spot.start : self._spot.end]
        popup.highlighted = next((at for at, each in enumerate(self._choices) if each.text == now), 0)
        popup.add_class("-open")
        cursor = self._area.cursor_screen_offset
        rows = min(len(self._choices), POPUP_ROWS) + 2
        below = cursor.y + 1 + rows <= self.size.height
        popup.styles.offset = (
            max(min(cursor.x - 1, self.size.width - columns - 2), 0),
            cursor.y + 1 if below else max(cursor.y - rows, 0),
        )

    def _close_popup(self) -> None:
        self._popup.remove_class("-open")

    def _put(self, choice: Choice) -> None:
        """Put a choice in place of what was typed; after a key its colon."""
        self._close_popup()
        found, area = self._spot, self._area
        if found is None:
            return
        text, after = area.text, choice.text
        rest = text[found.end :].lstrip()
        if found.wants == "key" and not rest.startswith(":"):
            after += ": "
        start, end = line_of(text, found.start), line_of(text, found.end)
        area.replace(after, start, end)
        inside = len(after) - 1 if after in {'""', "[]", "{}"} else len(after)
        row, column = start
        area.move_cursor((row, column + inside))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click."""
        if 0 <= event.option_index < len(self._choices):
            self._put(self._choices[event.option_index])
        self._area.focus()

    def _takes(self, key: str) -> bool:
        """Keys that are not the text's: those of the list while it is open, and those of the editor."""
        if self._popup.has_class("-open"):
            if key in {"up", "down"}:
                popup = self._popup
                popup.highlighted = ((popup.highlighted or 0) + (1 if key == "down" else -1)) % len(self._choices)
                return True
            if key in {"enter", "tab"}:
                self._put(self._choices[self._popup.highlighted or 0])
                return True
        act = {"ctrl+s": self.action_apply, "ctrl+d": self.action_diff, "ctrl+o": self.action_external}.get(key)
        if act is not None:
            act()
        return act is not None

    # -- keys -----------------------------------------------------------------------------------------------------

    def action_apply(self) -> None:
        """Apply it, unless something does not fit."""
        if self._busy:
            return
        self._refused = []
        value, problem = self._read()
        self._check()
        if problem:
            if self._faults and not self._large and not self._subject.plain:
                self._area.move_cursor(line_of(self.text, locate(self.text, self._faults[0].parts)))
            return
        self._busy = True
        self.run_worker(self._applied(value), group="apply", exit_on_error=False)

    async def _applied(self, value: Any) -> None:
        # Boundary: whoever takes the value talks to a host; whatever goes wrong there, the text stays.
        try:
            refused = await self._apply(value)
        except Exception as error:
            refused = [{"path": "", "message": str(error) or type(error).__name__}]
        finally:
            self._busy = False
        if refused:
            self._refused = list(refused)
            self._check()
        else:
            self.dismiss(True)

    def action_diff(self) -> None:
        """What changed, or the text again."""
        self._close_popup()
        self.toggle_class("-diff")
        self._keys()
        if not self.has_class("-diff"):
            self._area.focus()
            return
        palette = self._app.palette()
        shown = RichText()
        lines = diff(self._original, self.text)
        roles = {"+": "ok", "-": "error", "…": "dim"}
        for mark, line in lines or [("…", "nothing has changed")]:
            text = f"{mark} {one_line(line)}\n"
            shown.append(text, style=palette.style(roles.get(mark, "")))
        self.query_one("#diff", Static).update(shown)

    def action_external(self) -> None:
        """Give it to the editor of the system."""
        if not self._busy:
            self._busy = True
            self.run_worker(self._external(), group="external", exit_on_error=False)

    async def _external(self) -> None:
        try:
            text = await edit_externally(self.app, self.text, suffix=".txt" if self._subject.plain else ".json")
        except EditorFailed as error:
            self._app.say(str(error), "error")
            return
        finally:
            self._busy = False
        text = text.removesuffix("\n") if self._subject.plain else unseen_escaped(text)
        if self._large:
            self._text = text
        elif len(text) > MAX_HERE:
            self._large, self._text = True, text
            self._area.load_text(f"{size(len(text))}: too large to be edited here.")
            self._area.read_only = True
        elif text.rstrip("\n") != self._area.text:
            self._area.replace(text.rstrip("\n"), (0, 0), self._area.document.end)
        self._check()

    def action_leave(self) -> None:
        """Close the list, the changes, or the editor; what was changed is asked about once."""
        if self._popup.has_class("-open"):
            self._close_popup()
        elif self.has_class("-diff"):
            self.action_diff()
        elif self.text != (str(self._subject.value) if self._subject.plain else write(self._subject.value)) and not (
            self._leaving
        ):
            self._leaving = True
            message = self.query_one("#message", Label)
            message.update(Content("! it has changed: ctrl+s applies it, esc again drops it"))
            message.set_class(True, "error")
        else:
            self.dismiss(False)
