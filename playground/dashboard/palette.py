"""Which style each role has in the theme of the moment."""

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
_ATTRIBUTES = {
    "strong": Style(bold=True),
    "heading": Style(bold=True),
    "frame-focus": Style(bold=True),
    "quote": Style(italic=True),
    "emphasis": Style(italic=True),
    "match": Style(underline=True, bold=True),
    "tab": Style(reverse=True),
}


class Palette:
    """Styles by role, made once for each theme."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        foreground = Color.parse(variables["foreground"])
        background = Color.parse(variables["background"])
        self.plain = Style(color=foreground.rich_color, bgcolor=background.rich_color)
        ansi = foreground.ansi is not None or background.ansi is not None
        roles = dict(_ATTRIBUTES)
        for role, share in _FOREGROUND.items():
            if ansi:
                color = Style(dim=True) if share < 1 else Style()
            else:
                color = Style(color=background.blend(foreground, share).rich_color)
            roles[role] = color + roles.get(role, Style())
        for role, name in _VARIABLES.items():
            roles[role] = Style(color=Color.parse(variables[name]).rich_color) + roles.get(role, Style())
        if ansi:
            self.cursor, self.cursor_focus = Style(bold=True), Style(reverse=True)
            self.bar = Style(reverse=True)
        else:
            primary = Color.parse(variables["primary"])
            self.cursor = Style(bgcolor=background.blend(foreground, 0.09).rich_color)
            self.cursor_focus = Style(bgcolor=background.blend(primary, 0.45).rich_color, bold=True)
            self.bar = Style(bgcolor=background.blend(foreground, 0.07).rich_color)
        self._roles = roles

    def style(self, role: str) -> Style:
        """The style of a role, without a background; unknown roles are plain."""
        return self._roles.get(role) or self._roles[""]
