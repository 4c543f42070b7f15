"""The text of one stream: what is finished is kept as lines, only the last paragraph is laid out again."""

from __future__ import annotations

MAX_CHARS = 4_000_000
"""Kept of one stream; what is older can be found among the events."""


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

    def add(self, text: str, *, sequence: int | None, done: bool, at_ns: int) -> None:
        """Append a chunk; `sequence` counts from 0, and a jump in it is a gap."""
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

    def _grow(self, text: str) -> None:
        line = self.lines[-1] + text
        while len(line) > SOFT_LINE:
            self.lines[-1] = SoftLine(line[:SOFT_LINE])
            line = line[SOFT_LINE:]
            self.lines.append("")
        self.lines[-1] = line

    def rate(self) -> float:
        """Chunks a second."""
        if self.first_ns is None or self.last_ns <= self.first_ns:
            return 0.0
        return (self.chunks - 1) / ((self.last_ns - self.first_ns) / 1e9)

    def text(self) -> str:
        """All of it."""
        parts: list[str] = []
        for line in self.lines:
            parts += (line,) if isinstance(line, SoftLine) else (line, "\n")
        return "".join(parts[:-1])
