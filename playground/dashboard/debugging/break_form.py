"""The form of a breakpoint: where, on what condition, once or always."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Checkbox, Input, Label, OptionList
from textual.widgets.option_list import Option

from playground.conditions import MAX_LENGTH, Condition, ConditionError
from playground.dashboard.closing import ClosesOnce
from playground.dashboard.debugging.model import Place
from playground.dashboard.inorder import Line
from playground.dashboard.text import one_line
from playground.dashboard.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playground.breakpoints import Breakpoint

HINT = 'such as  "b" in args.url   status == "error"   items[0].price > 10   ·  empty: always'
ONCE = ("stops every time", "stops once, and is then off")
EVERYWHERE = ("in this flow", "in every flow of the project")


class _Tick(Tick, inherit_bindings=False):
    """Space ticks it; Enter is the form's, as everywhere in it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle_button", "Tick", show=False),
        Binding("enter", "screen.submit", "Set", show=False),
    ]


class BreakForm(ClosesOnce, ModalScreen[dict[str, Any] | None]):
    """Gives the fields of a `Breakpoint`, without its id."""

    DEFAULT_CSS = """
    BreakForm { align: center middle; background: $background 60%; }
    BreakForm > VerticalScroll {
        width: 78; max-width: 96%; height: auto; max-height: 94%;
        border: heavy $frame; padding: 0 1; background: $background;
    }
    BreakForm Label { width: 1fr; height: auto; color: $note; }
    BreakForm .error { color: $text-error; }
    BreakForm OptionList { height: auto; max-height: 12; border: none; padding: 0; background: $background; }
    BreakForm Input, BreakForm Checkbox { border: none; height: 1; padding: 0; }
    BreakForm Input { background: $foreground 8%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Close", show=False),
        Binding("ctrl+s", "submit", "Set", show=False),
        # What is typed after it is meant for the next field, also when it comes at once.
        Binding("tab", "app.focus_next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", show=False, priority=True),
    ]

    def __init__(
        self, offers: Sequence[Place], *, marked: set[Place], place: Place | None, known: Breakpoint | None,
        target: str | None,
    ) -> None:  # fmt: skip
        """`marked` places have a breakpoint; `place` is proposed; `known` is to be changed."""
        super().__init__()
        self._offers = list(offers)
        self._found = list(offers)
        self._marked = marked
        self._place = place
        self._known = known
        self._target = target

    def compose(self) -> ComposeResult:
        """A filter, the places, the condition."""
        known = self._known
        with VerticalScroll() as box:
            box.can_focus = False
            box.border_title = "Breakpoint" if known is None else "Change a breakpoint"
            box.border_subtitle = "⏎ sets it · tab next · esc closes"
            yield Label("where · type to find, or name another: tool NAME, node NAME")
            yield Line(placeholder="find", id="find", compact=True)
            yield OptionList(id="places")
            yield Label("only if", id="about")
            yield Line(
                known.condition or "" if known is not None else "", placeholder="always", id="condition",
                max_length=MAX_LENGTH, compact=True,
            )  # fmt: skip
            yield Label(Content(HINT), id="message")
            once, target = (False, self._target) if known is None else (known.once, known.target)
            yield _Tick(ONCE[once], once, compact=True, id="once")
            yield _Tick(EVERYWHERE[target is None], target is None, compact=True, id="everywhere")

    def on_checkbox_changed(self, event: Checkbox.Changed) -> None:
        """Said in words."""
        event.checkbox.label = (ONCE if event.checkbox.id == "once" else EVERYWHERE)[event.value]

    def on_mount(self) -> None:
        """The place is chosen already where the cursor was on one: the condition is what is left."""
        self._fill("")
        # Arrows walk it from the field above: what is typed after one tab is the condition, and none of it is lost.
        self.query_one(OptionList).can_focus = False
        if self._place is not None:
            if self._place in self._found:
                self.query_one(OptionList).highlighted = self._found.index(self._place)
            self.set_focus(self.query_one("#condition", Input))
        else:
            self.set_focus(self.query_one("#find", Input))

    def _fill(self, text: str) -> None:
        words = text.lower().split()
        self._found = [each for each in self._offers if all(word in each.text().lower() for word in words)]
        typed = _typed(text)
        if typed is not None and typed not in self._found:
            self._found.append(typed)
        places = self.query_one(OptionList)
        places.clear_options()
        places.add_options(
            Option(Content(("◉ " if each in self._marked else "  ") + one_line(each.text()))) for each in self._found
        )
        if self._found:
            places.highlighted = 0

    def on_input_changed(self, event: Input.Changed) -> None:
        """The list follows each key; the condition is read with each key."""
        if event.input.id == "find":
            self._fill(event.value)
        else:
            self._judge()

    def _judge(self) -> str | None:
        """Read the condition; say what is wrong with it. Gives it, or None when it cannot be read."""
        text = self.query_one("#condition", Input).value.strip()
        message = self.query_one("#message", Label)
        try:
            if text:
                Condition(text)
        except ConditionError as error:
            message.update(Content(f"✖ {one_line(str(error))}"))
            message.set_class(True, "error")
            return None
        message.update(Content("✔ it can be read" if text else HINT))
        message.set_class(False, "error")
        return text

    def on_key(self, event: events.Key) -> None:
        """Arrows move in the list while something is typed above it."""
        places = self.query_one(OptionList)
        if event.key in {"up", "down"} and isinstance(self.focused, Input):
            event.stop()
            places.action_cursor_up() if event.key == "up" else places.action_cursor_down()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter sets it."""
        self.action_submit()

    def on_option_list_option_selected(self) -> None:
        """Enter sets it."""
        self.action_submit()

    def action_cancel(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)

    def action_submit(self) -> None:
        """Set it, unless something does not fit."""
        condition = self._judge()
        if condition is None:
            self.query_one("#condition", Input).focus()
            return
        index = self.query_one(OptionList).highlighted
        if index is None or not 0 <= index < len(self._found):
            message = self.query_one("#message", Label)
            message.update(Content("✖ nothing has this name here; to name it all the same: node NAME, tool NAME"))
            message.set_class(True, "error")
            self.query_one("#find", Input).focus()
            return
        place = self._found[index]
        everywhere = self.query_one("#everywhere", Checkbox).value
        self.dismiss(
            {
                "on": place.on,
                "name": place.name,
                "kind": place.kind,
                "condition": condition or None,
                "once": self.query_one("#once", Checkbox).value,
                "target": None if everywhere else self._target,
            }
        )


def _typed(text: str) -> Place | None:
    """A place that is named in full."""
    on, _, name = text.strip().partition(" ")
    return Place(on, name.strip()) if on in {"node", "tool", "error"} and name.strip() else None
