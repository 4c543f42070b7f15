"""Which style each role has in the theme of the moment, on whatever ground it stands.

Themes choose their colors for their own background. Here text stands on the row of a cursor and on bars too, so each
color is moved towards black or white until it can be read there.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color

_FOREGROUND = {"": 1.0, "dim": 0.55, "frame": 0.3, "quote": 0.75, "bar-wait": 0.25}
_VARIABLES = {
    "ok": "text-success",
    "error": "text-error",
    "warn": "text-warning",
    "busy": "text-accent",
    "accent": "text-accent",
    "frame-focus": "accent",
    "key": "text-primary",
    "string": "text-success",
    "number": "text-warning",
    "literal": "text-warning",
    "heading": "text-primary",
    "code": "text-warning",
    "bar": "primary",
    "bar-ok": "primary",
    "bar-error": "error",
    "bar-busy": "accent",
}
TEXT_CONTRAST = 4.5
"""Between text and what it stands on: what WCAG asks for (AA)."""
MARK_CONTRAST = 3.0
"""Of what is no text but says something: bars, and the frame of the focused pane."""
_MARKS = {"frame-focus", "bar", "bar-ok", "bar-error", "bar-busy"}
_FAINT = {"frame", "bar-wait"}
"""Lines that are there to be overlooked."""
PLAIN, CURSOR, CURSOR_FOCUS, BAR = "plain", "cursor", "cursor-focus", "bar"
"""The grounds that text stands on."""
CURSOR_SHARE = 0.45
LEAST_SHARE = 0.25
CURSOR_CONTRAST = 7.0
"""Between plain text and the cursor's row: enough for colors to be told apart."""
_SAID = ("text-success", "text-error", "text-warning", "text-primary", "text-accent")
DIALOGS = """
ModalScreen > * { border-title-color: $foreground; border-title-style: bold; border-subtitle-color: $note; }
Input > .input--placeholder { color: $note; }
TextArea > .text-area--gutter { color: $note; }
Button.-primary, Button.-primary:focus { background: $block-cursor-background; color: $block-cursor-foreground; }
CommandPalette > .command-palette--help-text { color: $foreground; text-style: not bold; }
CommandList > .option-list--option-highlighted { background: $block-cursor-background; }
ToggleButton > .toggle--button { color: $foreground; }
"""
"""How dialogs and fields look in every theme."""
_ATTRIBUTES = {
    "strong": Style(bold=True),
    "heading": Style(bold=True),
    "frame-focus": Style(bold=True),
    "quote": Style(italic=True),
    "emphasis": Style(italic=True),
    "match": Style(underline=True, bold=True),
    "tab": Style(reverse=True),
}


def contrast(one: Color, other: Color) -> float:
    """From 1 (alike) to 21 (black and white), by the formula of WCAG 2."""
    lights = sorted(_luminance(color) for color in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(color: Color) -> float:
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def readable(color: Color, ground: Color, least: float) -> Color:
    """`color`, or the nearest to it, towards black or white, that has a contrast of `least` on `ground`."""
    black, white = Color(0, 0, 0), Color(255, 255, 255)
    end = max(black, white, key=lambda each: contrast(each, ground))
    for percent in range(0, 100, 4):
        moved = color.blend(end, percent / 100)
        if contrast(moved, ground) >= least:
            return moved
    return end


class Palette:
    """Styles by role, made once for each theme."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        foreground = Color.parse(variables["foreground"])
        background = Color.parse(variables["background"])
        self.plain = Style(color=foreground.rich_color, bgcolor=background.rich_color)
        if foreground.ansi is not None or background.ansi is not None:
            # What the terminal's own colors look like is not known here.
            self.cursor, self.cursor_focus = Style(bold=True), Style(reverse=True)
            self.bar = Style(reverse=True)
            roles = _ansi(variables)
            self._roles = dict.fromkeys((PLAIN, CURSOR, CURSOR_FOCUS, BAR), roles)
            return
        grounds = {
            PLAIN: background,
            CURSOR: background.blend(foreground, 0.09),
            CURSOR_FOCUS: _cursor(background, foreground, Color.parse(variables["primary"])),
            BAR: background.blend(foreground, 0.07),
        }
        self.cursor = Style(bgcolor=grounds[CURSOR].rich_color)
        self.cursor_focus = Style(bgcolor=grounds[CURSOR_FOCUS].rich_color, bold=True)
        self.bar = Style(bgcolor=grounds[BAR].rich_color)
        colors = {role: background.blend(foreground, share) for role, share in _FOREGROUND.items()}
        colors |= {role: Color.parse(variables[name]) for role, name in _VARIABLES.items()}
        self._roles = {name: _on(ground, colors) for name, ground in grounds.items()}

    def style(self, role: str, ground: str = PLAIN) -> Style:
        """The style of a role on a ground, without the ground's color; unknown roles are plain."""
        roles = self._roles[ground]
        return roles.get(role) or roles[""]


def css(variables: Mapping[str, str]) -> dict[str, str]:
    """What dialogs take from the theme, made readable: `$frame`, `$note` (for what is said by the way), the cursor."""
    foreground, background = Color.parse(variables["foreground"]), Color.parse(variables["background"])
    if foreground.ansi is not None or background.ansi is not None:
        return {"frame": variables["accent"], "note": variables["foreground"]}
    cursor = _cursor(background, foreground, Color.parse(variables["primary"]))
    colors = {name: Color.parse(variables[name]) for name in _SAID}
    colors["note"] = background.blend(foreground, _FOREGROUND["dim"])
    # Fields are on the surface, or a little off the background: what stands in them is read too.
    for ground in (background, Color.parse(variables["surface"]), background.blend(foreground, 0.1)):
        colors = {name: readable(color, ground, TEXT_CONTRAST) for name, color in colors.items()}
    return {
        **{name: color.hex for name, color in colors.items()},
        "frame": readable(Color.parse(variables["accent"]), background, TEXT_CONTRAST).hex,
        "block-cursor-background": cursor.hex,
        "block-cursor-foreground": readable(foreground, cursor, TEXT_CONTRAST).hex,
    }


def _cursor(background: Color, foreground: Color, primary: Color) -> Color:
    """As much of the theme's color as leaves text readable."""
    share = CURSOR_SHARE
    while share > LEAST_SHARE and contrast(foreground, background.blend(primary, share)) < CURSOR_CONTRAST:
        share -= 0.05
    return background.blend(primary, share)


def _on(ground: Color, colors: Mapping[str, Color]) -> dict[str, Style]:
    styles = dict(_ATTRIBUTES)
    for role, color in colors.items():
        least = 1.0 if role in _FAINT else MARK_CONTRAST if role in _MARKS else TEXT_CONTRAST
        styles[role] = Style(color=readable(color, ground, least).rich_color) + styles.get(role, Style())
    return styles


def _ansi(variables: Mapping[str, str]) -> dict[str, Style]:
    styles = dict(_ATTRIBUTES)
    for role, share in _FOREGROUND.items():
        styles[role] = Style(dim=True if share < 1 else None) + styles.get(role, Style())
    for role, name in _VARIABLES.items():
        styles[role] = Style(color=Color.parse(variables[name]).rich_color) + styles.get(role, Style())
    return styles
