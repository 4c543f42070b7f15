"""Markdown, line by line: enough for reports and answers, at a cost that does not grow with the text.

Each line stands for itself, except for fenced code and tables, which carry a little state. A text that is still
growing can therefore be laid out from its last unfinished block on.
"""

from __future__ import annotations

import re

from playground.dashboard.text import Row, cells, clip, one_line, row_cells

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_BULLET = re.compile(r"(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$")
_RULE = re.compile(r"\s*([-*_])(\s*\1){2,}\s*$")
_FENCE = re.compile(r"\s*(```|~~~)\s*([\w+-]*)")
_INLINE = re.compile(
    r"(?P<code>`[^`]+`)|(?P<strong>\*\*[^*]+\*\*|__[^_]+__)|(?P<emphasis>\*[^*\s][^*]*\*|\b_[^_\s][^_]*_\b)"
    r"|\[(?P<label>[^\]]+)\]\((?P<link>[^)\s]+)\)"
)
_CELL_RULE = re.compile(r"\s*:?-+:?\s*$")


def inline(text: str, role: str = "") -> Row:
    """Pieces of one line: code, strong, emphasis, links."""
    row: Row = []
    last = 0
    for match in _INLINE.finditer(text):
        if match.start() > last:
            row.append((text[last : match.start()], role))
        if match["code"]:
            row.append((match["code"][1:-1], "code"))
        elif match["strong"]:
            row.append((match["strong"][2:-2], "strong"))
        elif match["emphasis"]:
            row.append((match["emphasis"][1:-1], "emphasis"))
        else:
            row += [(match["label"], "accent"), (f" ({match['link']})", "dim")]
        last = match.end()
    if last < len(text):
        row.append((text[last:], role))
    return row


def wrap_row(row: Row, width: int, indent: int = 0) -> list[Row]:
    """A row broken at spaces into rows of at most `width` cells; further rows are indented."""
    width = max(width, 8)
    if row_cells(row) <= width:
        return [row]
    rows: list[Row] = [[]]
    room = width
    for text, role in row:
        for word in re.findall(r"\s*\S+|\s+$", text):
            rest, plain = word, word.isascii()
            if _exceeds(rest, room) and rows[-1]:
                rows.append([(" " * indent, "")] if indent else [])
                room, rest = width - indent, word.lstrip()
            while _exceeds(rest, room):
                # What is ASCII needs no measuring: a line without spaces may be as long as a stream.
                head = rest[: max(room - 1, 1)] if plain else clip(rest, room)[:-1] or rest[:1]
                rows[-1].append((head, role))
                rows.append([(" " * indent, "")] if indent else [])
                room, rest = width - indent, rest[len(head) :]
            rows[-1].append((rest, role))
            room -= cells(rest)
    return rows


def _exceeds(text: str, room: int) -> bool:
    # Measuring all of a huge word for each row that it fills would take seconds.
    return len(text) > 4 * room or cells(text) > room


class Renderer:
    """Lays out lines of Markdown; `open_block` is the index of the first line that may still change its look."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._fence: str | None = None
        self._table: list[str] = []

    def lines(self, lines: list[str]) -> list[Row]:
        """Rows of complete lines, in order of arrival. A table comes out when the line after it arrives."""
        rows: list[Row] = []
        for line in lines:
            rows += self._line(line)
        return rows

    def tail(self, line: str) -> list[Row]:
        """How the unfinished rest would look now: the open table, and the line that still grows."""
        fence, table = self._fence, list(self._table)
        rows = self._line(line) + self._flush_table()
        self._fence, self._table = fence, table
        return rows

    def _line(self, line: str) -> list[Row]:
        line = one_line(line.rstrip("\r").expandtabs(4))
        fence = _FENCE.match(line)
        if self._fence is not None:
            if fence and fence[1] == self._fence:
                self._fence = None
                return []
            return [[("▏ ", "dim"), (clip(line, self.width - 2), "string")]]
        if line.lstrip().startswith("|"):
            self._table.append(line)
            return []
        rows = self._flush_table()
        if fence:
            self._fence = fence[1]
            return rows
        return rows + self._block(line)

    def _block(self, line: str) -> list[Row]:
        if not line.strip():
            return [[]]
        if heading := _HEADING.match(line):
            level = len(heading[1])
            mark = "█ " if level == 1 else "▌ " if level == 2 else "▎ "
            return wrap_row([(mark, "bar"), *inline(heading[2], "heading")], self.width, 2)
        if _RULE.match(line):
            return [[("─" * self.width, "frame")]]
        if bullet := _BULLET.match(line):
            mark = "•" if bullet[2] in "-*+" else bullet[2]
            lead = " " * min(len(bullet[1]), 12) + mark + " "
            return wrap_row([(lead, "accent"), *inline(bullet[3])], self.width, len(lead))
        if line.lstrip().startswith(">"):
            return wrap_row([("▏ ", "accent"), *inline(line.lstrip()[1:].strip(), "quote")], self.width, 2)
        return wrap_row(inline(line), self.width)

    def _flush_table(self) -> list[Row]:
        lines, self._table = self._table, []
        table = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
        ruled = len(table) > 1 and all(_CELL_RULE.match(cell) for cell in table[1])
        numeric = {i for i, cell in enumerate(table[1]) if cell.endswith(":")} if ruled else set()
        body = [row for index, row in enumerate(table) if not (ruled and index == 1)]
        if not body:
            return []
        columns = max(len(row) for row in body)
        widths = [max((cells(_plain(row[i])) for row in body if i < len(row)), default=0) for i in range(columns)]
        spare = max(self.width - 2 * (columns - 1), columns)
        while sum(widths) > spare and max(widths) > 4:
            widths[widths.index(max(widths))] -= 1
        rows: list[Row] = []
        for number, row in enumerate(body):
            role = "heading" if ruled and number == 0 else ""
            out: Row = []
            for i, cell in enumerate(row):
                shown = clip(_plain(cell), widths[i])
                gap = " " * (widths[i] - cells(shown))
                code = "code" if cell.startswith("`") and not role else role
                out += [(gap, ""), (shown, code)] if i in numeric else [(shown, code), (gap, "")]
                out.append(("  ", ""))
            rows.append(out)
            if ruled and number == 0:
                rows.append([("─" * min(sum(widths) + 2 * (columns - 1), self.width), "frame")])
        return rows


def _plain(cell: str) -> str:
    return "".join(text for text, _ in inline(cell))
