"""What is kept of a trace while it is compared: units of facts, and how much there was of everything."""

from __future__ import annotations

from array import array
from collections import Counter
from enum import IntEnum

__all__ = ["Aspect", "Tally", "Unit", "seq_and_aspect"]

_ASPECTS = 8


class Aspect(IntEnum):
    """What a fact is about."""

    INPUT = 0
    """A message from outside."""
    PROMPT = 1
    """What a model, a tool, a remote agent or a recorded call was asked."""
    DECISION = 2
    """What a planner or an interceptor decided."""
    OUTPUT = 3
    """What was answered, sent or streamed."""
    STATUS = 4
    """How something ended."""
    INVOCATION = 5
    """That a node worked on a message at all."""


class Tally:
    """How much there was of everything."""

    __slots__ = ("chunks", "cost", "durations_ns", "retries", "spans", "tokens")

    def __init__(self) -> None:
        self.spans: Counter[tuple[str, str]] = Counter()
        """How many there were, by kind and name."""
        self.durations_ns: Counter[str] = Counter()
        """Of all invocations of a node together."""
        self.chunks = 0
        self.retries = 0
        self.tokens = 0
        self.cost = 0.0

    def add(self, other: Tally) -> None:
        """Count in what another one has."""
        self.spans.update(other.spans)
        self.durations_ns.update(other.durations_ns)
        self.chunks += other.chunks
        self.retries += other.retries
        self.tokens += other.tokens
        self.cost += other.cost


class Unit:
    """The facts of one invocation, or of the trace itself."""

    __slots__ = ("beginning", "facts", "key", "name", "places", "position", "start_seq", "tally")

    def __init__(self, key: tuple[str, str, int], position: int, start_seq: int) -> None:
        self.key = key
        """Node, message id, and how often it was worked on before."""
        self.name = key[0]
        self.position = position
        """Of the message among those of the node."""
        self.start_seq = start_seq
        self.beginning = -1
        """The last event that says what a fork began with; -1 where that does not matter."""
        self.facts = array("q")
        """Where and what, in turns."""
        self.places = array("q")
        """Of each fact: the event's `seq`, and the aspect."""
        self.tally: Tally | None = None
        """Of its own, while it is not known whether it counts."""

    def add(self, where: int, what: int, seq: int, aspect: Aspect) -> None:
        """Take one fact."""
        self.facts.append(where)
        self.facts.append(what)
        self.places.append(seq * _ASPECTS + aspect)

    def keep_only(self, where: int) -> None:
        """Forget all facts but those of one place."""
        facts, places = self.facts, self.places
        self.facts, self.places = array("q"), array("q")
        for index, place in enumerate(places):
            if facts[2 * index] == where:
                self.add(where, facts[2 * index + 1], *seq_and_aspect(place))

    def by_place(self) -> dict[int, tuple[int, int, Aspect]]:
        """What, `seq` and aspect of each fact, by where it is."""
        facts, places = self.facts, self.places
        return {facts[2 * index]: (facts[2 * index + 1], *seq_and_aspect(place)) for index, place in enumerate(places)}


def seq_and_aspect(place: int) -> tuple[int, Aspect]:
    """What one of `Unit.places` stands for."""
    return place // _ASPECTS, Aspect(place % _ASPECTS)
