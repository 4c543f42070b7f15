"""Two texts beside each other: lines that belong together in one row, and within them the words that differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

from playground.dashboard.text import Piece, Row, cells, wrap

MAX_WORDS = 600
"""Of a line; a longer one is marked as a whole."""
MAX_LINES = 2000
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
MARK = "match"


class Pair(NamedTuple):
    """What stands in one row: None where one side has nothing."""

    left: Row | None
    right: Row | None
    same: bool


def side_by_side(left: str | None, right: str | None) -> Iterator[Pair]:
    """Lines of two texts, aligned; None for nothing at all."""
    if left is None or right is None:
        for line in (left if left is not None else right or "").split("\n")[:MAX_LINES]:
            row: Row = [(line, "")]
            yield Pair(row, None, False) if right is None else Pair(None, row, False)
        return
    ours, theirs = left.split("\n")[:MAX_LINES], right.split("\n")[:MAX_LINES]
    for tag, i, i_end, j, j_end in SequenceMatcher(None, ours, theirs).get_opcodes():
        if tag == "equal":
            for line in ours[i:i_end]:
                yield Pair([(line, "dim")], [(line, "dim")], True)
            continue
        shared = min(i_end - i, j_end - j)
        for one, other in zip(ours[i : i + shared], theirs[j : j + shared], strict=True):
            yield Pair(*mark_words(one, other), False)
        for line in ours[i + shared : i_end]:
            yield Pair([(line, MARK)], None, False)
        for line in theirs[j + shared : j_end]:
            yield Pair(None, [(line, MARK)], False)


def mark_words(left: str, right: str) -> tuple[Row, Row]:
    """Both lines in pieces, those marked that the other one does not have."""
    ours, theirs = _WORD.findall(left), _WORD.findall(right)
    if len(ours) > MAX_WORDS or len(theirs) > MAX_WORDS:
        return [(left, MARK)], [(right, MARK)]
    one: Row = []
    other: Row = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        role = "" if tag == "equal" else MARK
        one.append(("".join(ours[i:i_end]), role))
        other.append(("".join(theirs[j:j_end]), role))
    return [piece for piece in one if piece[0]], [piece for piece in other if piece[0]]


def wrapped(row: Row | None, width: int) -> list[Row]:
    """A row broken into rows of at most `width` cells; its pieces keep their roles."""
    if row is None:
        return []
    text = "".join(piece for piece, _ in row)
    if cells(text) <= width:
        return [row]
    rows: list[Row] = []
    pieces = iter(row)
    rest: Piece = next(pieces, ("", ""))
    for line in wrap(text, width):
        wanted, made = len(line), []
        while wanted:
            if not rest[0]:
                rest = next(pieces)
                continue
            taken = rest[0][:wanted]
            made.append((taken, rest[1]))
            rest = (rest[0][wanted:], rest[1])
            wanted -= len(taken)
        rows.append(made)
    return rows
