"""The edges of a distributed flow as rows, then its workers, then the messages that nobody could handle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from playground.dashboard.bars import Key
from playground.dashboard.text import Row, clip, one_line, pad, when
from playground.dashboard.views.base import View

if TYPE_CHECKING:
    from playground.queue_frames import EdgeShown, LetterShown, Queues, WorkerShown

SHORT_ID = 12
NARROW = 60
"""With fewer columns than these, workers are counted and not named."""
_NUMBERS = ("waiting", "leased", "dead", "capacity")
_NUMBER_CELLS = 9


_now = time.time


class Letters(NamedTuple):
    """What the cursor is on: letters of an edge, all of them or one."""

    edge: str
    id: str | None
    """None: all of the edge."""
    many: int


class _Line(NamedTuple):
    row: Row
    letters: Letters | None = None


class QueueView(View):
    """One flow at a time."""

    label = "Queues"
    keys = (
        Key("← →", "flow", "side(1)"),
        Key("p", "put back", "change_letters('retry')"),
        Key("d", "drop", "change_letters('drop')"),
        Key("r", "again", "refresh"),
        Key("esc", "back", "back"),
        Key("?", "help", "help"),
    )
    help = (
        """Edges of a flow whose nodes run in workers, asked again every two seconds.
waiting: nobody has them  leased: a worker has them, or they come again later  dead: nobody could handle them
▲ messages wait, and no worker that lives consumes them: `pf worker TARGET` starts one.""",
        [
            ("← →  h l", "another distributed flow"),
            ("p", "put dead letters back on their edge: the one at the cursor, or all of the edge; asks first"),
            ("d", "drop them for good; asks first"),
            ("r", "ask again now"),
            ("y", "copy as JSON"),
            ("esc", "back"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.queues: Queues | None = None
        self.turn: Callable[[int], None] = lambda direction: None
        """Brings another flow."""
        self.empty = "asking …"
        self._lines: list[_Line] = []
        self._width = 80

    # -- what is shown --------------------------------------------------------------------------------------------

    def show(self, queues: Queues) -> None:
        """How the edges are now."""
        self.queues = queues
        self._lay_out()

    def tell(self, text: str) -> None:
        """Say why there is nothing, or nothing new."""
        self.empty = text
        self.queues, self._lines = None, []
        self.settle()
        self.touch()

    def side(self, direction: int) -> None:
        """Another flow."""
        self.turn(direction)

    @property
    def letters(self) -> Letters | None:
        """The dead letters at the cursor."""
        return self._lines[self.cursor].letters if 0 <= self.cursor < len(self._lines) else None

    def copy_text(self) -> str:
        """All that the host told."""
        return "" if self.queues is None else self.queues.model_dump_json(indent=2)

    # -- rows -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._lines)

    def row(self, index: int, width: int) -> Row:
        """A row that was laid out."""
        return self._lines[index].row

    def resize(self, width: int, height: int) -> None:
        """Names take the room that numbers leave."""
        if width != self._width:
            self._width = width
            self._lay_out()
        super().resize(width, height)

    def title(self) -> Row:
        """Which flow, and where its edges are."""
        if self.queues is None:
            return []
        return [(one_line(self.queues.target), "accent"), (f" · {one_line(self.queues.bus)}", "dim")]

    def note(self) -> str:
        """How many dead letters there are."""
        if self.queues is None:
            return ""
        dead = sum(edge.dead for edge in self.queues.edges)
        return self.queues.problem or (f"{dead:,} dead" if dead else "")

    def _lay_out(self) -> None:
        found = self.queues
        self._lines = []
        if found is not None:
            self._lines = [*self._edges(found.edges), _Line([]), *self._workers(found.workers)]
            if found.letters:
                self._lines += [_Line([]), *self._letters(found.letters)]
        self.settle()
        self.touch()

    def _edges(self, edges: Sequence[EdgeShown]) -> Iterator[_Line]:
        names = self._width - len(_NUMBERS) * _NUMBER_CELLS - 2
        workers = 0 if self._width < NARROW else names // 2
        head = "".join(f"{name:>{_NUMBER_CELLS}}" for name in _NUMBERS)
        title = f"  {pad('edge', names - workers)}{head}{'  workers' if workers else ''}"
        yield _Line([(title, "dim")])
        for edge in edges:
            mark = ("▲ ", "warn") if edge.unattended else ("  ", "")
            numbers = (edge.waiting, edge.leased, edge.dead, edge.capacity or "any")
            row: Row = [mark, (pad(clip(one_line(edge.edge), names - workers - 1), names - workers), "")]
            for name, number in zip(_NUMBERS, numbers, strict=True):
                text = f"{number:,}" if isinstance(number, int) else number
                role = "error" if name == "dead" and number else "warn" if name == "waiting" and number else "dim"
                row.append((f"{text:>{_NUMBER_CELLS}}", role))
            if workers:
                told = ", ".join(each[:SHORT_ID] for each in edge.workers) or ("nobody" if edge.unattended else "")
                row.append((f"  {clip(one_line(told), max(1, workers - 2))}", "warn" if edge.unattended else ""))
            yield _Line(row, Letters(edge.edge, None, edge.dead) if edge.dead else None)

    def _workers(self, workers: Sequence[WorkerShown]) -> Iterator[_Line]:
        if not workers:
            yield _Line([("  no worker has told of itself", "dim")])
            return
        yield _Line([("  worker        state     busy    done   again  where", "dim")])
        now = _now()
        for each in workers:
            state = each.state if each.alive or each.state == "ended" else "gone"
            role = {"running": "ok", "gone": "error"}.get(state, "dim")
            counts = [str(each.about.get(name, "")) for name in ("under_way", "done", "redelivered")]
            where = f"{each.host} {each.pid} · {', '.join(each.nodes)} · {when(each.seen_at, now)}"
            yield _Line(
                [
                    (f"  {pad(one_line(each.worker_id[:SHORT_ID]), SHORT_ID)}", ""),
                    (f"  {pad(one_line(state), 8)}", role),
                    (
                        "".join(f"{one_line(count):>{size}}" for count, size in zip(counts, (6, 8, 8), strict=True)),
                        "dim",
                    ),
                    (f"  {clip(one_line(where), max(8, self._width - 48))}", "dim"),
                ]
            )

    def _letters(self, letters: Sequence[LetterShown]) -> Iterator[_Line]:
        yield _Line([("  dead letters", "dim")])
        for each in letters:
            name = each.id.rpartition("/")[2]
            told = f"{each.edge} · {each.attempts} deliveries · {each.reason} · {each.payload}"
            row: Row = [
                ("✖ ", "error"),
                (pad(one_line(name[:SHORT_ID]), SHORT_ID), ""),
                (f"  {clip(one_line(told), max(8, self._width - SHORT_ID - 4))}", ""),
            ]
            yield _Line(row, Letters(each.edge, each.id, 1))
