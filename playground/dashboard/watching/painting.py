"""Rows with something written over them, and the part of a row that is in sight."""

from __future__ import annotations

from collections.abc import Iterable

from playground.dashboard.text import Row, cells

Written = tuple[int, str, str]
"""Column, text and role."""


def paint(line: str, role: str, written: Iterable[Written], start: int, width: int) -> Row:
    """The part of `line` in sight, with texts over it; the later ones cover the earlier ones.

    `start` is the first column in sight; before column 0 there is nothing.
    """
    given = list(written)
    if cells(line) != len(line) or any(cells(text) != len(text) for _, text, _ in given):
        return _paint_wide(line, role, given, start, width)
    chars = [line[column] if 0 <= column < len(line) else " " for column in range(start, start + width)]
    roles = [role] * width
    for column, text, own in given:
        for position, char in enumerate(text, column - start):
            if 0 <= position < width:
                chars[position], roles[position] = char, own
    row: Row = []
    first = 0
    for position in range(1, width + 1):
        if position == width or roles[position] != roles[first]:
            row.append(("".join(chars[first:position]), roles[first]))
            first = position
    return row


def _paint_wide(line: str, role: str, written: list[Written], start: int, width: int) -> Row:
    row: Row = [(line, role)]
    for column, text, own in written:
        row = over(row, column, text, own)
    return cut([(" " * max(-start, 0), ""), *row], max(start, 0), width)


def over(row: Row, column: int, text: str, role: str) -> Row:
    """`text` written over a row, which grows where it is too short."""
    if not text:
        return row
    before, after = cut(row, 0, column), cut(row, column + cells(text), 100_000)
    missing = column - sum(cells(piece) for piece, _ in before)
    return [*before, (" " * max(missing, 0), ""), (text, role), *after]


def cut(row: Row, start: int, width: int) -> Row:
    """The part of a row that begins at a column."""
    out: Row = []
    end = start + width
    position = 0
    for text, role in row:
        length = cells(text)
        if position < end and position + length > start:
            first, last = max(start - position, 0), min(end - position, length)
            if length == len(text):
                out.append((text[first:last], role))
            else:
                out.append((_cells_of(text, first, last), role))
        position += length
    return out


def _cells_of(text: str, first: int, last: int) -> str:
    """Characters of a text with wide ones that lie in these cells; halves of wide ones are blanks."""
    out: list[str] = []
    position = 0
    for char in text:
        length = cells(char)
        if position >= first and position + length <= last:
            out.append(char)
        elif position < last and position + length > first:
            out.append(" ")
        position += length
    return "".join(out)
