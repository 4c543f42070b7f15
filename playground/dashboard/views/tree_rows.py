"""The rows of a tree of spans; those of a moment are made from the rows of the whole trace."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from playground.dashboard.trace import TraceModel, failed

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span

TreeRow = tuple["Span", int]
"""A span and how deep it is."""
_start_of = attrgetter("start_seq")


def shown_children(span: Span) -> Sequence[Span]:
    """What hangs under a span on screen: a single attempt that did not fail is folded into its node."""
    children = span.children
    if span.kind == "node" and len(children) == 1 and children[0].kind == "attempt" and not failed(children[0]):
        return children[0].children
    return children


def flatten(span: Span, depth: int, is_open: Callable[[Span], bool] | None) -> list[TreeRow]:
    """The rows of a span and of all that is unfolded under it; `is_open` None: nothing is folded."""
    rows: list[TreeRow] = []
    stack: list[tuple[Iterator[Span], int]] = [(iter((span,)), depth)]
    while stack:
        siblings, level = stack[-1]
        for current in siblings:
            rows.append((current, level))
            children = shown_children(current) if current.children else ()
            if children and (is_open is None or is_open(current)):
                stack.append((iter(children), level + 1))
                break
        else:
            stack.pop()
    return rows


class WholeRows:
    """The rows of a whole trace, with what is needed to find those of its moments among them.

    What was over at a moment looks as it does in the whole trace: its rows are taken over in stretches. Only the few
    spans that were still open then, and those that began since the mark before it, are laid out one by one.
    """

    def __init__(self, whole: TraceModel, rows: list[TreeRow]) -> None:
        self.whole = whole
        self.revision = whole.revision
        self.rows = rows
        self._index = {span.span_id: index for index, (span, _) in enumerate(rows)}
        self._ends = _ends(rows)

    def fits(self, trace: TraceModel) -> bool:
        """Whether it is of the whole of this moment, as that stands now."""
        return trace.whole is self.whole and self.revision == self.whole.revision

    def at(self, moment: TraceModel, own: set[str], is_open: Callable[[Span], bool] | None) -> list[TreeRow]:
        """The rows of a moment with these spans of its own; the folds have to be those of the whole trace's rows."""
        owned: dict[str | None, list[Span]] = {}
        for span_id in own:
            span = moment.spans[span_id]
            owned.setdefault(span.parent_id if span.parent_id in moment.spans else None, []).append(span)
        rows: list[TreeRow] = []
        stack = [(self._parts(moment.tree.roots, owned.get(None, [])), 0)]
        while stack:
            parts, level = stack[-1]
            for part in parts:
                if isinstance(part, list):
                    self._take(part, level, rows)
                    continue
                rows.append((part, level))
                children = shown_children(part)
                if children and (is_open is None or is_open(part)):
                    holder = part if children is part.children else part.children[0]
                    stack.append((self._parts(children, owned.get(holder.span_id, [])), level + 1))
                    break
            else:
                stack.pop()
        return rows

    def _parts(self, children: Sequence[Span], owned: list[Span]) -> Iterator[Span | list[Span]]:
        """The moment's own spans among some siblings, and the stretches between them: first and last."""
        done = 0
        for span in sorted(owned, key=_start_of):
            place = bisect_left(children, span.start_seq, key=_start_of)
            if place > done:
                yield [children[done], children[place - 1]]
            yield span
            done = place + 1
        if done < len(children):
            yield [children[done], children[-1]]

    def _take(self, stretch: list[Span], level: int, rows: list[TreeRow]) -> None:
        first, last = (self._index[span.span_id] for span in stretch)
        found = self.rows[first : self._ends[last]]
        deeper = level - found[0][1]
        rows += [(span, depth + deeper) for span, depth in found] if deeper else found


def _ends(rows: list[TreeRow]) -> array[int]:
    """For each row, the index after the last one under it."""
    ends = array("L", bytes(8 * len(rows)))
    around: list[int] = []
    for index, (_, depth) in enumerate(rows):
        while around and rows[around[-1]][1] >= depth:
            ends[around.pop()] = index
        around.append(index)
    for index in around:
        ends[index] = len(rows)
    return ends
