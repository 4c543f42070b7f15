"""Worker, wait and delivery in the rows of a trace that several processes write, and what its joins have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.moments import Moment
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.tree import TreeView
from playground.dashboard.watching.timing import Queueing, pieces
from playground.dashboard.watching.waterfall import WaterfallView
from playground.dashboard.workers import TIMES, counted, short_names

MS = 1_000_000
WORKERS = ("92701b05", "92703c44")


class Writers:
    """A script of several writers: each event says whose it is."""

    def __init__(self, script: Any) -> None:
        self.script = script("ab" * 16, worker_id="caller", worker_seq=0)

    def take(self, name: str, message: str, worker: int, *, waited_s: float = 0.001, delivery: int = 1) -> str:
        """A worker takes a message."""
        about = {"message_id": message, "queue_wait_s": waited_s, "delivery": delivery}
        mark = {"worker_id": WORKERS[worker], "worker_seq": len(self.script.events)}
        span: str = self.script.start("node", name, self.script.root, {**about, **mark})
        return span

    def gather(self, message: str, worker: int, have: int, of: int = 3) -> None:
        """It goes to a join, which keeps it, unless it has all."""
        span = self.take("gather", message, worker)
        self.script.ms += 1
        if have < of:
            hold = f"node 'gather' still waits: {have} of {of} messages came"
            self.script.event("context.changed", "gather", span, self.script.root, {"set": {}, "hold": hold})
        self.script.end(span)


@pytest.fixture
def joined(script: Any) -> Callable[..., list[bytes]]:
    """Two workers do three parts, which a join collects; the second part waits long, the third is done again."""

    def write(workers: int = 2) -> list[bytes]:
        by = Writers(script)
        story = by.script
        for number, (waited_s, delivery) in enumerate(((0.001, 1), (0.04, 1), (30.0, 2))):
            story.ms = 50 + 10 * number
            part = story.send(story.root, "OpenSea", "work", number)
            work = by.take("work", part, number % workers, waited_s=waited_s, delivery=delivery)
            story.ms += 5
            done = story.send(work, "work", "gather", number)
            story.end(work)
            by.gather(done, 0, number + 1)
        story.ms += 1
        events: list[bytes] = story.finish()
        return events

    return write


def opened(events: list[bytes], *, live: bool = True) -> TreeView:
    trace, view = TraceModel("ab" * 16), TreeView(clock=lambda: 0.0)
    view.show(trace)
    view.resize(100, 20)
    for raw in events:
        trace.add(raw)
        if live:
            view.sync()
    view.sync()
    return view


def labels(view: TreeView, width: int) -> list[str]:
    """What stands before the times; `x2` for the second delivery."""
    found = (view.label_row(*view.rows[index], width) for index in range(len(view)))
    return ["".join(text for text, _ in row).replace(TIMES, "x") for row in found]


@pytest.mark.parametrize("live", [True, False])
def test_rows_tell_worker_wait_delivery_and_what_a_join_has(joined: Any, live: bool) -> None:
    view = opened(joined(), live=live)
    assert labels(view, 44) == [
        "▾ ✔ triage                                  ",
        "    ✔ work                             92701",
        "    ✔ gather  1 of 3 ← work 92701      92701",
        "    ✔ work                      ░40 ms 92703",
        "    ✔ gather  2 of 3 ← work 92703      92701",
        "    ✔ work                  x2 ░30.0 s 92701",
        "    ✔ gather  3 of 3 ← work 92701      92701",
    ]
    assert view.note() == "7 spans · 22 events · 2 workers"


def test_less_room_has_what_matters_most(joined: Any) -> None:
    view = opened(joined())
    assert labels(view, 28)[3:] == [
        "    ✔ work      ░40 ms 92703",
        "    ✔ gather  2 of 3 ← 92703",
        "    ✔ work  x2 ░30.0 s 92701",
        "    ✔ gather  3 of 3 ← 92701",
    ]
    assert labels(view, 20)[5] == "    ✔ work  x2 92701"
    assert labels(view, 14)[5] == "    ✔ work  x2"
    assert labels(view, 12)[5] == "    ✔ work  "


def test_one_worker_is_not_named_and_one_process_tells_nothing(joined: Any, triage: Any) -> None:
    view = opened(joined(workers=1))
    assert labels(view, 44)[5] == "    ✔ work                        x2 ░30.0 s"
    assert "workers" not in view.note()
    triaged = opened(triage().events)
    assert labels(triaged, 30)[1] == "    ✔ route                   "


def test_an_error_keeps_its_room(script: Any) -> None:
    by = Writers(script)
    span = by.take("work", "m", 0, waited_s=5.0, delivery=2)
    by.script.end(span, "error", error={"type": "ValueError", "message": "no penguin"})
    by.take("rest", "m2", 1)
    view = opened(by.script.events)
    assert labels(view, 60)[1] == "    ✖ work  ValueError: no penguin".ljust(44) + "x2 ░5.00 s 92701"
    assert labels(view, 36)[1] == "    ✖ work  ValueError: no… x2 92701"


def test_a_moment_knows_the_workers_of_the_whole_run(joined: Any) -> None:
    whole = opened(joined()).trace
    assert whole is not None
    view = TreeView(clock=lambda: 0.0)
    moment = Moment(whole, len(whole.events) // 2)
    view.show(moment)
    view.resize(100, 20)
    view.sync()
    assert any("92701" in label for label in labels(view, 44))


def test_a_worker_is_found_by_its_name(joined: Any) -> None:
    view = opened(joined())
    assert view.finder("92703c44")(range(len(view))) == [3]
    assert view.holds(3, "92703c44")


def test_the_wait_lies_before_the_bar(joined: Any) -> None:
    tree = opened(joined())
    trace, span = tree.trace, tree.rows[3][0]
    assert trace is not None
    found = pieces(trace, span, Queueing().since(trace, span))
    assert [(piece.state, piece.start_ns // MS, piece.end_ns // MS) for piece in found] == [
        ("queued", 20, 60),
        ("running", 60, 65),
    ]
    view = WaterfallView(tree)
    view.show(trace)
    view.resize(100, 20)
    drawn = "".join(text for text, _ in view.row(3, 100))
    assert "░40 ms 92703" in drawn
    assert "░░░░" in drawn


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["92701b05cafe", "92703c44cafe"], ["92701", "92703"]),
        (["alpha", "beta"], ["alph", "beta"]),
        (["machine.example.com-1", "machine.example.com-2"], ["…e.com-1", "…e.com-2"]),
        (["w\n1", "w\n2"], ["w␤1", "w␤2"]),
        (["one"], ["one"]),
        ([], []),
    ],
)
def test_short_names_tell_workers_apart(names: list[str], short: list[str]) -> None:
    assert list(short_names(names).values()) == short


def test_names_that_are_alike_at_both_ends_stay_apart_from_nobody() -> None:
    names = [f"machine-{number}.rack-of-many.example.com" for number in range(3)]
    assert all(len(name) <= 16 for name in short_names(names).values())


def test_what_a_node_waits_for_is_a_count_or_nothing() -> None:
    assert counted("node 'gather' still waits: 12 of 50 messages came") == (12, 50)
    assert counted("node 'gather' waits for the weather") is None


async def test_a_picture_of_workers(open_desk: Callable[..., Any], source: Any, joined: Any, album: Any) -> None:
    source.answer = lambda run: joined()
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        desk.app.clear_notifications()
        await desk.press("3", "g", "j", "j", "j")
        await album.take(desk, "tree")
        await desk.press("right_square_bracket")
        await album.take(desk, "waterfall")
