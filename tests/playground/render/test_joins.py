from __future__ import annotations

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.spans import SpanTree
from playground.render.joins import Joins
from playground.render.tree import tree_lines

Sent = tuple[str, str] | None
"""Edge and id of a message."""


class Story:
    """A trace that two workers write."""

    def __init__(self) -> None:
        self.tree = SpanTree()
        self.joins = Joins()
        self._late: list[TraceEvent] = []
        self._seq = 0
        self.root = self._event("trace.start", "joined", "root", None, worker_id="caller", worker_seq=0)

    def _event(self, kind: str, name: str, span: str, parent: str | None, **data: object) -> str:
        self._seq += 1
        at = self._seq * 1_000_000
        event = TraceEvent(self._seq, 0, "t", span, parent, 0.0, at, kind, name, data)
        self.tree.add(event)
        if kind == "message.enqueued":
            self._late.append(event)
        else:
            self.joins.add(event)
        return span

    def node(
        self, name: str, message: str, worker: str, *, sends: tuple[str, str] | None = None, hold: str = ""
    ) -> None:
        """A worker takes a message, and sends another one, or keeps it."""
        span = self._event(
            "node.start", name, f"s{self._seq}", self.root, message_id=message, worker_id=worker, worker_seq=1
        )
        if sends is not None:
            edge, message_id = sends
            self._event("message.enqueued", edge, span, None, message_id=message_id, worker_id=worker, worker_seq=2)
        if hold:
            self._event("context.changed", name, span, self.root, set={}, hold=hold)
        self._event("node.end", name, span, self.root, status="ok")

    def parts(self) -> dict[str, str]:
        """What is told of the joins."""
        for event in self._late:
            self.joins.add(event)
        return self.joins.parts(self.tree.roots)


def told(have: int) -> str:
    return f"node 'gather' still waits: {have} of 3 messages came"


def test_each_part_of_a_join_has_its_number_and_its_sender() -> None:
    story = Story()
    for number, (name, worker) in enumerate((("price", "92701b05"), ("stock", "92703c44"), ("price", "92703c44")), 1):
        story.node(name, f"in{number}", worker, sends=(f"{name}->gather", f"part{number}"))
        hold = told(number) if number < 3 else ""
        story.node("gather", f"part{number}", "92701b05", sends=None if hold else ("gather->ship", "all"), hold=hold)
    story.node("ship", "all", "92701b05")
    parts = story.parts()
    assert list(parts.values()) == ["1 of 3 ← price 92701", "2 of 3 ← stock 92703", "3 of 3 ← price 92703"]
    shown = [line for line in tree_lines(story.tree.roots, parts=parts) if "gather" in line]
    assert "gather · 1 of 3 ← price 92701 · 92701b05" in shown[0]
    assert "gather · 3 of 3 ← price 92703 · 92701b05" in shown[2]


def test_a_sender_that_is_not_there_is_left_out() -> None:
    story = Story()
    story.node("gather", "from somewhere", "w1", hold=told(1))
    assert list(story.parts().values()) == ["1 of 3"]


def test_who_waits_for_something_else_is_no_join() -> None:
    story = Story()
    story.node("sleep", "m", "w1", hold="node 'sleep' waits for the morning")
    assert story.parts() == {}
