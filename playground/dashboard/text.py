"""Text that is safe and fits: what comes from user code is made visible and cut to cells, never shown raw.

A `Row` is one line of a pane as data: pieces of text, each with the role that decides its color. Rows are made without
a screen and drawn by `playground.dashboard.rowlist`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import lru_cache

Piece = tuple[str, str]
"""Text and role."""
Row = list[Piece]

NS = 1_000_000_000
ELLIPSIS = "…"
GLYPHS = {
    "running": "●",
    "ok": "✔",
    "error": "✖",
    "timeout": "◷",
    "cancelled": "⊘",
    "interrupted": "↯",
    "paused": "‖",
}
"""One mark for each status: meaning never hangs on color alone."""
UNKNOWN = "◌"
"""The mark of what may have an end that nobody here has heard of: it is still read, or its host is offline."""
ROLES = {
    "running": "busy",
    "ok": "ok",
    "error": "error",
    "timeout": "error",
    "cancelled": "warn",
    "interrupted": "warn",
    "paused": "warn",
}


def _control_table() -> dict[int, str]:
    table = {code: chr(0x2400 + code) for code in range(0x20)}
    table[0x7F] = "␡"
    table.update(dict.fromkeys((*range(128, 160), *range(55296, 57344), 65529, 65530, 65531), "�"))
    hidden = (0x00AD, 0x061C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
    table.update({code: f"<U+{code:04X}>" for code in hidden})
    # Joiners and selectors have no width of their own, and terminals disagree about what they do to their neighbors.
    table.update(dict.fromkeys((8205, *range(65024, 65040), *range(917504, 917632)), ""))
    table.update({0x2028: "␤", 0x2029: "␤", 0x85: "␤", 0x0A: "␤", 0x09: "  "})
    return table


_CONTROLS = _control_table()
_CONTROLS_IN_LINES = {code: text for code, text in _CONTROLS.items() if code != 0x0A} | {0x09: "    ", 0x0D: ""}


def one_line(text: str) -> str:
    """`text` as one line: controls, bidi marks, surrogates and line ends become visible symbols."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS)


class _Signs(dict[int, str]):
    """What stands for each sign; made as it is asked for."""

    def __init__(self, keeps: str, instead: Callable[[str], str]) -> None:
        super().__init__({ord(sign): sign for sign in keeps})
        self._instead = instead

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        self[code] = shown = sign if sign.isprintable() and code not in _CONTROLS else self._instead(sign)
        return shown


_SIGNS = _Signs("\t", lambda sign: "\ufffd")
_ESCAPED = _Signs("\t\r\n", lambda sign: json.dumps(sign)[1:-1])


def signs(text: str) -> str:
    """`text` with one sign for each of its own, for where positions matter: what `one_line` replaces is `\ufffd`.

    Tabs stay.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_SIGNS)


def unseen_escaped(text: str) -> str:
    """JSON in which what cannot be seen, or would do something, is escaped; it means the same."""
    return text if text.isascii() and "\x7f" not in text else text.translate(_ESCAPED)


def lines_of(text: str) -> list[str]:
    """`text` as lines without control characters; `\\r\\n` counts as one line end."""
    return [
        line if line.isprintable() and line.isascii() else line.translate(_CONTROLS_IN_LINES)
        for line in text.split("\n")
    ]


def many_lines(text: str) -> str:
    """As `lines_of`, joined again."""
    return "\n".join(lines_of(text))


@lru_cache(maxsize=4096)
def _wide_length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def cells(text: str) -> int:
    """Width of `text` in terminal cells."""
    return len(text) if text.isascii() else _wide_length(text)


def clip(text: str, width: int) -> str:
    """`text` cut to at most `width` cells; a cut is marked."""
    if width <= 0:
        return ""
    if len(text) > 2 * width:
        # Bounds the work on huge texts; what is cut off here is out of sight anyway.
        text = text[: 2 * width + 1]
    if cells(text) <= width:
        return text
    if text.isascii():
        return text[: width - 1] + ELLIPSIS
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1).rstrip() + ELLIPSIS


def clip_start(text: str, width: int) -> str:
    """`text` in at most `width` cells, its end kept: for paths, whose end says most."""
    if cells(text) <= width:
        return text
    kept = text[-width:] if width > 1 else ""
    while kept and cells(kept) > width - 1:
        kept = kept[1:]
    return ELLIPSIS + kept if width > 0 else ""


def pad(text: str, width: int) -> str:
    """`text` in exactly `width` cells."""
    text = clip(text, width)
    return text + " " * (width - cells(text))


def row_cells(row: Row) -> int:
    """Width of a row."""
    return sum(cells(text) for text, _ in row)


def clip_row(row: Row, width: int) -> Row:
    """A row cut to `width` cells."""
    out: Row = []
    for text, role in row:
        length = cells(text)
        if length > width:
            out.append((clip(text, width), role))
            return out
        out.append((text, role))
        width -= length
    return out


def wrap(text: str, width: int) -> list[str]:
    """`text` (one line) broken into pieces of at most `width` cells, at spaces where that is possible."""
    width = max(width, 8)
    if len(text) <= width and cells(text) <= width:
        return [text]
    pieces: list[str] = []
    while text:
        cut = _cut_index(text, width)
        if cut < len(text):
            space = text.rfind(" ", cut // 2, cut)
            if space > 0:
                cut = space + 1
        pieces.append(text[:cut])
        text = text[cut:]
    return pieces


def _cut_index(text: str, width: int) -> int:
    if text[: width + 1].isascii():
        return min(width, len(text))
    used = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > width:
            return max(index, 1)
    return len(text)


def duration(seconds: float | None) -> str:
    """`12 ms`, `0.82 s`, `2m03s`, `1h05m`."""
    if seconds is None:
        return ""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
    return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}m"


def now_s() -> float:
    """Unix seconds of this moment; one place, so that pictures can be made of any day."""
    return time.time()


def when(ts: float, now: float | None = None) -> str:
    """Local time of day for today, otherwise the day and the hour: always as short as it can be told apart."""
    then = time.localtime(ts)
    today = time.localtime(now_s() if now is None else now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M:%S", then)
    return time.strftime("%b %d %H:%M" if then.tm_year == today.tm_year else "%Y-%m-%d", then)


def when_short(ts: float) -> str:
    """As `when` in at most seven cells: the hour of today, a day of this year, a month of another one."""
    then, today = time.localtime(ts), time.localtime(now_s())
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%b %d" if then.tm_year == today.tm_year else "%Y-%m", then)


def count(number: float) -> str:
    """`950`, `12.4k`, `3.1M`."""
    if number < 1000:
        return f"{number:.0f}"
    for unit in ("k", "M", "G"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f}{unit}" if number < 99.95 else f"{number:.0f}{unit}"
    return f"{number:.0f}T"


def size(number: int) -> str:
    """Bytes: `812 B`, `12.4 kB`."""
    return f"{number} B" if number < 1000 else count(number) + "B"


def bar(start: float, end: float, total: float, width: int) -> str:
    """A span drawn on an axis of `width` cells that stands for `total`, to half a cell; never invisible."""
    if width <= 0 or total <= 0:
        return ""
    halves = 2 * width
    first = min(int(min(max(start / total, 0.0), 1.0) * halves), halves - 1)
    last = max(round(min(max(end / total, 0.0), 1.0) * halves), first + 1)
    lead, open_half = divmod(first, 2)
    drawn = "╺" if open_half else ""
    full, rest = divmod(last - first - open_half, 2)
    return " " * lead + drawn + "━" * full + ("╸" if rest else "")
