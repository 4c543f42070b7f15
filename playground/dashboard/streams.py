"""The text of one stream: what is finished is kept as lines, only the last paragraph is laid out again."""

from __future__ import annotations

import re
from typing import Any

MAX_CHARS = 4_000_000
"""Kept of one stream; what is older can be found among the events."""

ANSWER, THINKING, TOOL, OTHER = "answer", "thinking", "tool", ""
CHANNELS = (ANSWER, OTHER, THINKING, TOOL)
"""In the order in which they are shown; what a node sends under a name of its own has no channel."""
CHARS_PER_TOKEN = 4
"""About; the model tells the true number when it is done."""
RATE_NS = 500_000_000
_STEP = re.compile(r"step\[(\d+)\]")
SOFT_LINE = 8192
"""A longer line is kept in pieces, so that the cost of a chunk does not grow with the line."""


class SoftLine(str):
    """A piece of a line that goes on in the next one."""

    __slots__ = ()


class StreamText:
    """Chunks of one stream, joined."""

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.lines: list[str] = [""]
        """Text so far, by lines; the last one may still grow."""
        self.chunks = 0
        self.chars = 0
        self.gaps = 0
        """Chunks that never came."""
        self.trimmed = 0
        """Lines given up at the beginning."""
        self.done = False
        self.first_ns: int | None = None
        self.last_ns = 0
        self.revision = 0
        name = stream_id.rpartition("/")[2].partition("#")[0]
        self.channel = name if name in CHANNELS else OTHER
        self.superseded = False
        """What it says was not used: the reply was repaired, or the call made again."""
        self.tool: str | None = None
        self._total = 0
        self._mark = (0, 0)
        """When the rate was taken last, and characters until then."""
        self._rate: float | None = None

    def about(self, meta: Any) -> None:
        """What the sender says of a chunk."""
        if not isinstance(meta, dict):
            return
        if meta.get("channel") in CHANNELS:
            self.channel = meta["channel"]
        if isinstance(meta.get("tool"), str):
            self.tool = meta["tool"]
        self.superseded = self.superseded or meta.get("superseded") is True

    @property
    def label(self) -> str:
        """`answer · step 3`; the stream's own name where it has no channel."""
        if self.channel == OTHER:
            return self.stream_id
        step = _STEP.search(self.stream_id)
        name = self.channel if self.tool is None else self.tool
        if step is None:
            return name if self.tool is not None or "/" in self.stream_id else self.stream_id
        return f"{name} · step {step[1]}"

    def add(self, text: str, *, sequence: int | None, done: bool, at_ns: int) -> None:
        """Append a chunk; `sequence` counts from 0, and a jump in it is a gap."""
        self._total += len(text)
        expected = self.chunks + self.gaps
        if sequence is not None and sequence > expected:
            missing = sequence - expected
            self.gaps += missing
            text = f"⟨{missing} missing⟩{text}"
        self.chunks += 1
        self.chars += len(text)
        self.done = self.done or done
        self.first_ns = at_ns if self.first_ns is None else self.first_ns
        self.last_ns = at_ns
        if self.chunks == 1:
            self._mark = (at_ns, self._total)
        elif at_ns - self._mark[0] >= RATE_NS:
            self._rate = (self._total - self._mark[1]) / ((at_ns - self._mark[0]) / 1e9)
            self._mark = (at_ns, self._total)
        self.revision += 1
        if "\n" not in text:
            self._grow(text)
        else:
            first, *rest = text.split("\n")
            self._grow(first)
            for line in rest:
                self.lines.append("")
                self._grow(line)
        while self.chars > MAX_CHARS and len(self.lines) > 1000:
            cut = len(self.lines) // 4
            self.chars -= sum(len(line) + 1 for line in self.lines[:cut])
            del self.lines[:cut]
            self.trimmed += cut

    def add_run(self, texts: list[str], *, first: int, begun_ns: int, at_ns: int) -> bool:
        """As `add`, of chunks numbered from `first` that came one after the other; False where some are missing."""
        if first > self.chunks + self.gaps:
            return False
        text = "".join(texts)
        self.chunks += len(texts) - 1
        self.revision += len(texts) - 1
        self.first_ns = begun_ns if self.first_ns is None else self.first_ns
        if self.chunks + 1 == len(texts):
            self._mark = (begun_ns, len(texts[0]))
        self.add(text, sequence=None, done=False, at_ns=at_ns)
        return True

    def _grow(self, text: str) -> None:
        line = self.lines[-1] + text
        while len(line) > SOFT_LINE:
            self.lines[-1] = SoftLine(line[:SOFT_LINE])
            line = line[SOFT_LINE:]
            self.lines.append("")
        self.lines[-1] = line

    def rate(self) -> float:
        """Tokens a second, about: over the last half second while it goes on, over all of it at its end."""
        if self._rate is not None and not self.done:
            return self._rate / CHARS_PER_TOKEN
        if self.first_ns is None or self.last_ns <= self.first_ns:
            return 0.0
        return self._total / CHARS_PER_TOKEN / ((self.last_ns - self.first_ns) / 1e9)

    def text(self) -> str:
        """All of it."""
        parts: list[str] = []
        for line in self.lines:
            parts += (line,) if isinstance(line, SoftLine) else (line, "\n")
        return "".join(parts[:-1])
