"""The screen that compares two runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from playground.dashboard.bars import Key, KeyBar, StatusBar
from playground.dashboard.closing import ClosesOnce
from playground.dashboard.palette import Palette
from playground.dashboard.pane import Pane
from playground.dashboard.text import GLYPHS, ROLES, Row, one_line
from playground.dashboard.travel.comparing import Comparison
from playground.dashboard.travel.diff_views import DifferencesView, NumbersView, SidesView, told_in_short
from playground.sources import Source

KEYS = [
    Key("n", "next", "screen.walk(1)"),
    Key("N", "previous", "screen.walk(-1)"),
    Key("a", "kind", "screen.aspect"),
    Key("]", "numbers", "screen.tab"),
    Key("⏎", "go there", "screen.go"),
    Key("esc", "leave", "screen.leave"),
    Key("?", "help", "screen.help"),
]
ABOUT = """Where two runs differ, by what they said and did at the same place: inputs, prompts, decisions, outputs.
◆ is the first divergence; most of the others follow from it. A fork is compared from where it began.
Words that the other side does not have are underlined:  < only left  > only right  ≠ changed"""
HELP = (
    ABOUT,
    [
        ("n  N", "next and previous difference"),
        ("a", "only inputs, only prompts, … , all"),
        ("tab", "the list, and what is picked"),
        ("[  ]", "side by side, numbers (tokens, cost, time, counts)"),
        ("⏎", "go to the event, in the run that has it"),
        ("y", "copy both sides"),
        ("esc  q", "leave"),
    ],
)


class DiffScreen(ClosesOnce, ModalScreen[tuple[str, int] | None]):
    """Two runs beside each other. Gives the run and the event to go to, or None."""

    DEFAULT_CSS = """
    DiffScreen { background: $background; layout: vertical; }
    DiffScreen #diff-list { height: 2fr; }
    DiffScreen #diff-detail { height: 3fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Leave", show=False),
        Binding("n", "walk(1)", "Next", show=False),
        Binding("N", "walk(-1)", "Previous", show=False),
        Binding("a", "aspect", "Kind", show=False),
        Binding("enter", "go", "Go there", show=False),
        Binding("tab,shift+tab", "other_pane", "Other pane", show=False),
        Binding("right_square_bracket,left_square_bracket", "tab", "Numbers", show=False, priority=True),
        Binding("question_mark,f1", "help", "Help", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("ctrl+c", "app.quit", "Quit", show=False),
    ]

    def __init__(self, a: str, b: str, source: Source, palette: Callable[[], Palette], *, tick_s: float) -> None:
        super().__init__()
        self.comparison = Comparison(a, b)
        self._source = source
        self._palette = palette
        self._tick_s = tick_s
        self.differences = DifferencesView(self.comparison)
        self.differences.help = HELP
        self.sides = SidesView()
        self.numbers = NumbersView(self.comparison)

    def compose(self) -> ComposeResult:
        """Who is compared, the list, the details, the keys."""
        yield StatusBar(self._palette, id="diff-status")
        self.list_pane = Pane("DIFFERENCES", [self.differences], self._palette, id="diff-list")
        self.detail_pane = Pane("A | B", [self.sides, self.numbers], self._palette, id="diff-detail")
        yield self.list_pane
        yield self.detail_pane
        yield KeyBar(self._palette, id="diff-keys")

    def on_mount(self) -> None:
        """Begin to compare."""
        self.query_one("#diff-keys", KeyBar).set_keys(KEYS)
        self.set_focus(self.list_pane)
        self._tell()
        self.set_interval(self._tick_s, self._tick)
        # It ends with the screen.
        self.run_worker(self._compare(), exit_on_error=False)

    async def _compare(self) -> None:
        # Boundary to the store: whatever goes wrong there, the screen says so.
        try:
            await self.comparison.run(self._source)
        except Exception as error:
            self.differences.fail(one_line(f"{error}" or type(error).__name__))
            return
        self.differences.fill()
        self.numbers.fill()
        self.sides.show(self.differences.difference)
        self._tell()

    def _tick(self) -> None:
        self.differences.sync()
        self.list_pane.redraw_if_changed()
        self.detail_pane.redraw_if_changed()

    def _tell(self) -> None:
        row: Row = [(" ◆ diff ", "heading")]
        comparison = self.comparison
        for name, trace_id, trace in zip("AB", (comparison.a, comparison.b), comparison.traces, strict=True):
            row += [(f"{name} ", "strong"), (one_line(trace_id[:8]), "accent")]
            if trace is not None:
                row += [
                    (f" {GLYPHS.get(trace.status, '?')}", ROLES.get(trace.status, "")),
                    (f" {one_line(trace.flow or '')}  ", ""),
                ]
        forked = None if comparison.diff is None else comparison.diff.forked
        if forked is not None:
            row.append((f"{forked.fork.upper()} forked after event {forked.seq}", "dim"))
        self.query_one("#diff-status", StatusBar).set_rows(row, told_in_short(comparison))

    # -- keys -----------------------------------------------------------------------------------------------------

    def on_pane_moved(self, message: Pane.Moved) -> None:
        """What is picked is shown."""
        message.stop()
        self.sides.show(self.differences.difference)
        self.detail_pane.redraw_if_changed()

    def on_pane_chosen(self, message: Pane.Chosen) -> None:
        """Enter goes there."""
        message.stop()
        self.action_go()

    def action_walk(self, delta: int) -> None:
        """Another difference."""
        self.differences.move(delta)
        self.list_pane.redraw_if_changed()
        self.sides.show(self.differences.difference)
        self.detail_pane.redraw_if_changed()

    def action_aspect(self) -> None:
        """Another kind of differences."""
        self.differences.next_aspect()
        self.action_walk(0)

    def action_tab(self) -> None:
        """Side by side, or the numbers."""
        self.detail_pane.action_tab(1)

    def action_other_pane(self) -> None:
        """The list, or the details."""
        (self.detail_pane if self.list_pane.has_focus else self.list_pane).focus()

    def action_go(self) -> None:
        """Leave for the event, in the run that has it."""
        difference = self.differences.difference
        if difference is None:
            return
        if difference.a is not None:
            self.dismiss((self.comparison.a, difference.a.seq))
        elif difference.b is not None:
            self.dismiss((self.comparison.b, difference.b.seq))

    def action_copy(self) -> None:
        """Both sides of what is picked."""
        text = self.sides.copy_text()
        if text:
            self.app.copy_to_clipboard(text)
            self.app.notify(f"copied {len(text):,} characters", markup=False)

    def action_help(self) -> None:
        """What this shows."""
        from playground.dashboard.help import HelpScreen

        self.app.push_screen(HelpScreen("diff", self.differences))

    def action_leave(self) -> None:
        """Back to where one came from."""
        self.dismiss(None)
