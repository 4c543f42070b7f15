"""Where a run came from: forked from another one, or replaying it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from playground.dashboard.text import one_line


class Origin(NamedTuple):
    """The run that another one came from."""

    trace_id: str
    seq: int | None
    """The last event that a fork has in common with it."""
    replay: bool
    background: bool = False
    """It was done in the background on account of that run."""

    @property
    def short(self) -> str:
        """For a list: `↳9e9a` for a fork, `⟲9e9a` for a replay."""
        return f"{'⟲' if self.replay else '↳'}{one_line(self.trace_id[:6])}"

    @property
    def kind(self) -> str:
        """`fork`, `replay` or `background`."""
        return "replay" if self.replay else "background" if self.background else "fork"

    def __str__(self) -> str:
        name = one_line(self.trace_id[:8])
        if self.replay:
            return f"a replay of {name}"
        if self.background:
            return f"in the background of {name}"
        return f"a fork of {name}" + (f" after event {self.seq}" if self.seq is not None else "")


def origin_of(data: Mapping[str, Any] | None, mode: object = None) -> Origin | None:
    """What `trace.start` says of it, its `mode` beside it; the summary of a trace has that within."""
    if not isinstance(data, Mapping) or not isinstance(data.get("trace_id"), str):
        return None
    seq = data.get("seq")
    modes = (mode, data.get("mode"))
    return Origin(data["trace_id"], seq if isinstance(seq, int) else None, "replay" in modes, "background" in modes)
