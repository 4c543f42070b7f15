"""Every text can be read on whatever it stands on, in every theme."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from playground.dashboard import palette
from playground.dashboard.palette import BAR, CURSOR, CURSOR_FOCUS, PLAIN, Palette, contrast, css, readable

COLORED = [name for name in BUILTIN_THEMES if not name.startswith("ansi") and name != "textual-ansi"]
TEXTS = set(palette._FOREGROUND) | set(palette._VARIABLES)


def variables(theme: str) -> dict[str, str]:
    app: App[None] = App()
    app.theme = theme
    return app.get_css_variables()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#f00", "#fff", 4.0), ("#123", "#123", 1.0)],
)
def test_contrast_is_that_of_wcag(one: str, other: str, expected: float) -> None:
    assert contrast(Color.parse(one), Color.parse(other)) == pytest.approx(expected, abs=0.01)
    assert contrast(Color.parse(other), Color.parse(one)) == pytest.approx(expected, abs=0.01)


def test_a_color_that_can_be_read_stays_what_it_is() -> None:
    white = Color.parse("#ffffff")
    blue = Color.parse("#0000aa")
    assert readable(blue, white, 4.5) == blue
    moved = readable(Color.parse("#8888ff"), white, 4.5)
    assert contrast(moved, white) >= 4.5
    assert moved.b > moved.r


@pytest.mark.parametrize("theme", COLORED)
def test_texts_can_be_read(theme: str) -> None:
    drawn = Palette(variables(theme))
    grounds = {
        PLAIN: drawn.plain,
        CURSOR: drawn.plain + drawn.cursor,
        CURSOR_FOCUS: drawn.plain + drawn.cursor_focus,
        BAR: drawn.plain + drawn.bar,
    }
    for name, ground in grounds.items():
        assert ground.bgcolor is not None
        behind = Color.from_rich_color(ground.bgcolor)
        for role in TEXTS - palette._FAINT:
            color = drawn.style(role, name).color
            assert color is not None
            least = 3.0 if role in palette._MARKS else 4.5
            assert contrast(Color.from_rich_color(color), behind) >= least, (role, name)


@pytest.mark.parametrize("theme", COLORED)
def test_a_cursor_is_seen(theme: str) -> None:
    drawn = Palette(variables(theme))
    assert drawn.plain.bgcolor is not None
    assert drawn.cursor_focus.bgcolor is not None
    plain, cursor = Color.from_rich_color(drawn.plain.bgcolor), Color.from_rich_color(drawn.cursor_focus.bgcolor)
    assert contrast(plain, cursor) >= 1.2


@pytest.mark.parametrize("theme", COLORED)
def test_dialogs_can_be_read(theme: str) -> None:
    given = variables(theme)
    made = css(given)
    for name, on in (("frame", "background"), ("note", "background"), ("note", "surface")):
        assert contrast(Color.parse(made[name]), Color.parse(given[on])) >= 4.5
    cursor = Color.parse(made["block-cursor-background"])
    assert contrast(Color.parse(made["block-cursor-foreground"]), cursor) >= 4.5


@pytest.mark.parametrize("theme", [name for name in BUILTIN_THEMES if name not in COLORED])
def test_the_colors_of_the_terminal_are_left_to_it(theme: str) -> None:
    given = variables(theme)
    drawn = Palette(given)
    assert drawn.style("dim").dim
    assert drawn.style("dim", CURSOR_FOCUS) == drawn.style("dim", PLAIN)
    assert set(css(given)) == {"frame", "note"}
