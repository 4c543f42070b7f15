"""Pictures of a scene: three sizes, dark and light, as text with the style of every cell beside it.

With `PENGUIFLOW_GALLERY=DIR` each of them is written as SVG too, to be looked at.
"""

from __future__ import annotations

import os
import re
import string
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.segment import Segment
from rich.style import Style
from syrupy.assertion import SnapshotAssertion
from textual._compositor import Compositor
from textual._context import visible_screen_stack
from textual.color import Color
from textual.screen import Screen

SIZES = [(80, 24), (120, 40), (200, 60)]
THEMES = {"dark": "textual-dark", "light": "textual-light"}
# What WCAG 2.2 asks of text (AA), and of marks that carry meaning.
TEXT_CONTRAST = 4.5
MARK_CONTRAST = 3.0
# Edges, bars, scroll thumbs and rulers: text beside them says what they say.
DECORATION = re.compile(r"[\s\u2500-\u259f\u25b2\u25bc\u25ba\u25c4\u2800-\u28ff🔎░▒▓…·]+\Z")
Rows = list[list[Segment]]


def contrast(style: Style) -> float:
    """Between text and what lies behind it, by WCAG's formula."""
    assert style.color is not None
    assert style.bgcolor is not None
    one, other = (Color.from_rich_color(color) for color in (style.color, style.bgcolor))
    lights = sorted(_luminance(color) for color in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(color: Color) -> float:
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def faint(screen: Screen[Any], rows: Rows) -> list[str]:
    """Texts that are hard to read on what lies behind them; what lies below a dialog is not to be read."""
    found = {}
    for y, row in enumerate(rows):
        x = 0
        for segment in row:
            text, style, _ = segment
            here, x = x, x + segment.cell_length
            if style is None or style.color is None or style.bgcolor is None or DECORATION.match(text):
                continue
            needed = TEXT_CONTRAST if re.search(r"\w", text) else MARK_CONTRAST
            if (there := contrast(style)) >= needed:
                continue
            if not screen.is_modal or screen.get_widget_at(here, y)[0] is not screen:
                found[f"{style.color.name} on {style.bgcolor.name}"] = f"{text.strip()!r} {there:.2f} ({style})"
    return [*found.values()]


class Styles:
    """A letter for each style, as they come."""

    ALPHABET = string.ascii_letters + "".join(map(chr, range(0x3B1, 0x3CA)))

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def row(self, row: list[Segment]) -> str:
        """`a80`, or `a3b20a57`: how long which style goes on."""
        runs: list[tuple[str, int]] = []
        for segment in row:
            name = str(segment.style)
            letter = self.letters.setdefault(name, self.ALPHABET[len(self.letters)])
            if runs and runs[-1][0] == letter:
                runs[-1] = (letter, runs[-1][1] + segment.cell_length)
            else:
                runs.append((letter, segment.cell_length))
        return "".join(f"{letter}{length}" for letter, length in runs)


class Album:
    """Takes the pictures of one test."""

    def __init__(self, snapshot: SnapshotAssertion, folder: str | None) -> None:
        self._snapshot = snapshot
        self._folder = folder

    async def take(self, desk: Any, name: str, again: Callable[[], Awaitable[None]] | None = None) -> None:
        """All sizes in both themes, beginning with the smallest; compares them with what is kept.

        `again` opens once more what took its colors from the theme when it was opened.
        """
        parts: list[str] = []
        faints: list[str] = []
        styles = {shade: Styles() for shade in THEMES}
        for size in SIZES:
            texts = {}
            for shade, theme in THEMES.items():
                rows = await self._shot(desk, size, theme, again)
                texts[shade] = "\n".join("".join(segment.text for segment in row).rstrip() for row in rows)
                if shade == "dark":
                    parts += [f"{size[0]}x{size[1]}", texts[shade]]
                parts += [shade, *_folded([styles[shade].row(row) for row in rows])]
                faints += [f"{size} {shade}: {each}" for each in faint(desk.app.screen, rows)]
                self._keep(desk, f"{name}-{size[0]}x{size[1]}-{shade}")
            assert texts["light"] == texts["dark"]
        for shade, seen in styles.items():
            parts += [shade, *(f"{letter} {style}" for style, letter in seen.letters.items())]
        if self._folder is None:
            assert not faints
        elif faints:
            with (Path(self._folder) / "faint.txt").open("a") as file:
                file.write("\n".join(f"{name} {each}" for each in faints) + "\n")
        assert "\n" + "\n".join(parts) == self._snapshot(name=name)

    async def _shot(
        self, desk: Any, size: tuple[int, int], theme: str, again: Callable[[], Awaitable[None]] | None
    ) -> Rows:
        app = desk.app
        with undrawn():
            if app.size != size:
                await desk.pilot.resize_terminal(*size)
                await desk.until(lambda: app.size == size and app.screen.size == size, "the new size")
            if app.theme != theme:
                app.theme = theme
                await desk.frame()
                if again is not None:
                    await again()
            for field in app.screen.query("Input, TextArea"):
                field.cursor_blink = False
                # One that was blinked off just then stays so until it is drawn again.
                field.refresh()
            await desk.frame()
        # Where Textual looks for what lies below a dialog: each task has its own, of when it last drew.
        visible_screen_stack.set(app._background_screens)
        return [list(strip) for strip in app.screen._compositor.render_strips()]

    def _keep(self, desk: Any, name: str) -> None:
        if self._folder is not None:
            (Path(self._folder) / f"{name}.svg").write_text(desk.app.export_screenshot(title=name))


@contextmanager
def undrawn() -> Iterator[None]:
    """What nobody looks at is laid out, and not drawn: to draw it is most of what a picture costs."""

    def forget(compositor: Compositor, **_: Any) -> None:
        compositor._dirty_regions.clear()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Compositor, "render_update", forget)
        yield


def _folded(rows: list[str]) -> Iterator[str]:
    """Rows that are alike, told once."""
    start = 0
    for number in range(1, len(rows) + 1):
        if number == len(rows) or rows[number] != rows[start]:
            yield f"{start}-{number - 1} {rows[start]}" if number - start > 1 else f"{start} {rows[start]}"
            start = number


@pytest.fixture
def album(snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> Iterator[Album]:
    """Takes pictures in one time zone, and of clocks that stand still."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("playground.dashboard.model.Workspace.events_per_second", lambda self: 0.0)
    monkeypatch.setattr("playground.dashboard.trace.TraceModel.now_ns", lambda self: self._last_offset)
    monkeypatch.setattr("playground.dashboard.views.lists.now_s", lambda: 1_790_000_000.4)
    # A notice stays until it is taken away, however long the pictures take.
    monkeypatch.setattr("playground.dashboard.app.DashboardApp.NOTIFICATION_TIMEOUT", 600)
    yield Album(snapshot, os.environ.get("PENGUIFLOW_GALLERY") or None)
    monkeypatch.undo()
    time.tzset()
