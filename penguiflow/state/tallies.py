"""How often the parts of a trace ran, how long they took, and what they cost.

Times are counted in buckets that are 4 % wide, so that those of many traces can be added up, and any percentile of them
be told to within 2 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import from_json

from penguiflow.recording.facts import span_usage
from penguiflow.state.chunks import Chunk

__all__ = ["PART_KINDS", "Tally", "percentile_ns", "tally_of"]

PART_KINDS = ("node", "playbook", "planner", "llm", "tool", "join", "remote", "record")
"""Kinds of spans and calls of which numbers are kept, by name."""
_CALLS = frozenset({"llm", "tool", "remote"})
"""Those whose end tells tokens and cost."""
_UNSEEN = frozenset({"ctx.now", "ctx.random", "planner.limit", "planner.constraints"})
_FAILED = frozenset({"error", "timeout"})
_OK = b'{"status":"ok"'
_STARTS = {f"{kind}.start": kind for kind in PART_KINDS}
_ENDS = {f"{kind}.end": kind for kind in PART_KINDS}
_WIDTH = math.log(1.04)


class Tally:
    """The numbers of one part."""

    __slots__ = ("cost", "count", "failed", "longest_ns", "retries", "times", "tokens", "total_ns")

    def __init__(self) -> None:
        self.count = 0
        self.failed = 0
        self.retries = 0
        self.tokens = 0
        self.cost = 0.0
        self.total_ns = 0
        self.longest_ns = 0
        self.times: Counter[int] = Counter()
        """How many by bucket."""

    def took(self, ns: int, *, failed: bool) -> None:
        """Count one that has ended."""
        ns = max(0, ns)
        self.count += 1
        self.failed += failed
        self.total_ns += ns
        self.longest_ns = max(self.longest_ns, ns)
        self.times[bucket_of(ns)] += 1


def tally_of(chunks: Iterable[tuple[int, Chunk]]) -> dict[tuple[str, str], Tally]:
    """The numbers of a trace, by kind and name; what has not ended is not counted."""
    tallies: dict[tuple[str, str], Tally] = {}
    opened: dict[str, tuple[int, str, str]] = {}
    for _, chunk in chunks:
        for kind, span, offset, name, data in zip(
            chunk.kinds, chunk.spans, chunk.offsets, chunk.names, chunk.data, strict=True
        ):
            if kind in _STARTS:
                opened[span] = (offset, _STARTS[kind], name)
            elif kind in _ENDS:
                began = opened.pop(span, None)
                if began is not None:
                    _end(_of(tallies, _ENDS[kind], name), _ENDS[kind], offset - began[0], data)
            elif kind == "node.retry":
                # A planner's tools have retries too.
                of = opened.get(span)
                _of(tallies, *(("node", name) if of is None else of[1:])).retries += 1
            elif kind == "record" and name not in _UNSEEN:
                told = from_json(data)
                took = told.get("latency_ms")
                ns = int(took * 1e6) if isinstance(took, int | float) and math.isfinite(took) else 0
                _of(tallies, "record", name).took(ns, failed=told.get("error") is not None)
    return tallies


def percentile_ns(times: Mapping[int, int], share: float) -> float | None:
    """How long the quickest `share` of all took at most, in nanoseconds; None without any."""
    total = sum(times.values())
    if not total:
        return None
    rank = max(1, math.ceil(share * total))
    for bucket in sorted(times):
        rank -= times[bucket]
        if rank <= 0:
            return middle_of(bucket)
    raise AssertionError("the buckets hold fewer than there are")


def bucket_of(ns: int) -> int:
    """The bucket of a time; 0 for none at all."""
    return 0 if ns < 1 else 1 + int(math.log(ns) / _WIDTH)


def middle_of(bucket: int) -> float:
    """The time that stands for all in a bucket, in nanoseconds."""
    return 0.0 if bucket == 0 else math.exp((bucket - 0.5) * _WIDTH)


def _of(tallies: dict[tuple[str, str], Tally], kind: str, name: str) -> Tally:
    tally = tallies.get((kind, name))
    if tally is None:
        tally = tallies[kind, name] = Tally()
    return tally


def _end(tally: Tally, kind: str, ns: int, data: bytes) -> None:
    if kind not in _CALLS and data.startswith(_OK):
        tally.took(ns, failed=False)
        return
    told: dict[str, Any] = from_json(data)
    tally.took(ns, failed=told.get("status") in _FAILED)
    if kind in _CALLS:
        tokens, cost = span_usage(told)
        tally.tokens += tokens
        tally.cost += cost
