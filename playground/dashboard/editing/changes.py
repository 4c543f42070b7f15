"""What an edit changed: as edits for a host, and as lines for people."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from playground.dashboard.editing.schemas import pointer

MAX_DIFF_LINES = 20_000
AROUND = 3


class Change(NamedTuple):
    """What becomes of a value: `edits` in place, or all of it anew."""

    edits: dict[str, Any]
    """New values by JSON Pointer; the pointer of all of it is empty."""

    @property
    def whole(self) -> bool:
        """Whether all of it is another value."""
        return "" in self.edits


def change(before: Any, after: Any) -> Change:
    """The smallest edits that make one value of another. Where a key or an item goes, what is around it is given."""
    edits: dict[str, Any] = {}
    _compare(before, after, [], edits)
    return Change(edits)


def _compare(before: Any, after: Any, parts: list[str], edits: dict[str, Any]) -> None:
    if _same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict) and set(before) <= set(after):
        for key, value in after.items():
            if key in before:
                _compare(before[key], value, [*parts, key], edits)
            else:
                edits[pointer([*parts, key])] = value
        return
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, value in enumerate(after):
            _compare(before[index], value, [*parts, str(index)], edits)
        return
    edits[pointer(parts)] = after


def _same(before: Any, after: Any) -> bool:
    """Equal, and of the same types: `1`, `1.0` and `true` are three values."""
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(_same(before[key], after[key]) for key in before)
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_same, before, after))
    return bool(before == after)


def diff(before: str, after: str) -> list[tuple[str, str]]:
    """Lines that differ, with some around them, and their roles: `+`, `-`, ` `, and `…` where lines are left out."""
    one, other = before.splitlines(), after.splitlines()
    if len(one) + len(other) > MAX_DIFF_LINES:
        return [("…", f"{len(one):,} lines before, {len(other):,} after: too many to compare here")]
    lines: list[tuple[str, str]] = []
    for group in difflib.SequenceMatcher(None, one, other, autojunk=False).get_grouped_opcodes(AROUND):
        if lines:
            lines.append(("…", ""))
        for tag, start, end, first, last in group:
            if tag == "equal":
                lines += [(" ", line) for line in one[start:end]]
                continue
            lines += [("-", line) for line in one[start:end]]
            lines += [("+", line) for line in other[first:last]]
    return lines
