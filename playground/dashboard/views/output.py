"""What a run says: its streams, and the host's output."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from playground.dashboard.bars import Key
from playground.dashboard.markdown import Renderer
from playground.dashboard.streams import ANSWER, CHANNELS, OTHER, StreamText
from playground.dashboard.text import Row, count, one_line, wrap
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.base import View

if TYPE_CHECKING:
    from playground.protocol import LogLine

MAX_LINES = 20_000
"""Laid out of one stream; what is older can be copied, and is among the events."""
MAX_LOGS = 5_000


class StreamView(View):
    """One stream at a time, as Markdown or raw: finished lines are laid out once, only the last block again."""

    label = "Stream"
    short = "Str"
    has_cursor = False
    empty = "No stream in this run."
    help = (
        """What the run says while it goes on: answers, thoughts and what tools put out, each stream by itself.
Tokens a second are about. ⟨n missing⟩ marks chunks that never came. An answer that was repaired is not used.""",
        [
            ("← →  h l", "the stream before, the stream after; answers come first, then thinking, then tools"),
            ("m", "Markdown, or the text as it came"),
            ("G", "stay at the end"),
            ("y", "copy all of it"),
            ("[  ]", "stream, logs and the other tabs"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.trace: TraceModel | None = None
        self.raw = False
        self.follow = True
        self.picked: str | None = None
        """The stream that somebody chose; None: the newest answer."""
        self._shown: str | None = None
        self._width = 60
        self._head: list[Row] = []
        self._tail: list[Row] = []
        self._renderer = Renderer(60)
        self._line = 0
        self._trimmed = 0
        self._seen: tuple[object, ...] = ()

    def show(self, trace: TraceModel | None) -> None:
        """Show another trace's streams."""
        self.trace = trace
        self.picked = self._shown = None
        self.follow = trace is None or trace.live or not trace.over
        self.top = 0
        self._restart()

    @property
    def stream(self) -> StreamText | None:
        """The stream in front: the one that was chosen, or or the newest answer that counts."""
        if self.trace is None or not self.trace.streams:
            return None
        streams = self.trace.streams
        if self.picked in streams:
            return streams[self.picked]
        answers = [stream for stream in streams.values() if stream.channel == ANSWER]
        if answers:
            return next((stream for stream in reversed(answers) if not stream.superseded), answers[-1])
        first = next((stream for stream in streams.values() if stream.channel == OTHER), None)
        return first or next(reversed(streams.values()))

    def ordered(self) -> list[StreamText]:
        """All streams: answers, then those without a channel, then thinking, then tools, each as they came."""
        streams = self.trace.streams.values() if self.trace is not None else ()
        return sorted(streams, key=lambda stream: CHANNELS.index(stream.channel))

    @property
    def keys(self) -> Sequence[Key]:  # type: ignore[override]
        """Where there are several streams, how to walk them."""
        if not self.head_rows:
            return ()
        return (
            Key("]", "logs", "next_tab"),
            Key("← →", "stream", "do('watching', 'side', 1)"),
            Key("m", "raw", "raw"),
            Key("y", "copy", "copy"),
        )

    @property
    def head_rows(self) -> int:  # type: ignore[override]
        """A line that tells the streams apart, where there are several."""
        return int(self.trace is not None and len(self.trace.streams) > 1)

    def head(self, line: int, width: int) -> Row:
        """How many streams there are of each kind, and which one is in front."""
        front = self.stream
        ordered = self.ordered()
        row: Row = [("◂ ", "dim")]
        for channel in CHANNELS:
            of_kind = [stream for stream in ordered if stream.channel == channel]
            if not of_kind or front is None:
                continue
            name = channel if channel != OTHER else "streams"
            if channel == front.channel:
                row.append((f"[{name} {of_kind.index(front) + 1}/{len(of_kind)}]", "strong"))
            else:
                row.append((f" {name} {len(of_kind)} ", "dim"))
            row.append((" ", ""))
        row.append(("▸", "dim"))
        return row

    def _restart(self) -> None:
        self._head, self._tail, self._line = [], [], 0
        self._renderer = Renderer(self._width)
        self._seen = ()
        stream = self.stream
        self._shown = stream.stream_id if stream else None
        self._trimmed = stream.trimmed if stream else 0
        if stream is not None:
            self._line = max(len(stream.lines) - MAX_LINES, 0)
        self.sync()

    def resize(self, width: int, height: int) -> None:
        """Wrap again when the width changed."""
        if width != self._width:
            self._width = width
            self._restart()
        super().resize(width, height)

    def set_raw(self, raw: bool) -> None:
        """Markdown, or the text as it came."""
        self.raw = raw
        self._restart()

    def side(self, direction: int) -> None:
        """Left and right choose among streams."""
        if self.trace is not None and self.trace.streams:
            ordered, front = self.ordered(), self.stream
            here = next((n for n, stream in enumerate(ordered) if stream is front), 0)
            self.picked = ordered[(here + direction) % len(ordered)].stream_id
            self.top = 0
            self.follow = True
            self._restart()

    def go_last(self) -> None:
        """The end, and stay there."""
        self.follow = True
        self.settle()
        self.touch()

    def sync(self) -> None:
        """Lay out what arrived since the last frame."""
        stream = self.stream
        if stream is not None and stream.stream_id != self._shown:
            self._restart()
            return
        state = (stream.stream_id, stream.revision, self.raw, self._width) if stream else ()
        if state == self._seen:
            return
        self._seen = state
        self.touch()
        if stream is None:
            self._head, self._tail = [], []
            return
        if stream.trimmed != self._trimmed:
            self._line = max(self._line - (stream.trimmed - self._trimmed), 0)
            self._trimmed = stream.trimmed
        finished = stream.lines[self._line : -1]
        self._line += len(finished)
        if self.raw:
            for line in finished:
                self._head += self._raw_rows(line)
            self._tail = self._raw_rows(stream.lines[-1])
        else:
            self._head += self._renderer.lines(finished)
            self._tail = self._renderer.tail(stream.lines[-1])
        if len(self._head) > 2 * MAX_LINES:
            del self._head[:MAX_LINES]
        self.settle()

    def _raw_rows(self, line: str) -> list[Row]:
        return [[(piece, "")] for piece in wrap(one_line(line.rstrip("\r")), self._width)]

    def __len__(self) -> int:
        return len(self._head) + len(self._tail)

    def title(self) -> Row:
        """Which stream, and how it goes."""
        stream = self.stream
        if stream is None or self.trace is None:
            return []
        # A stream without a name of its own carries the id of its trace.
        named = stream.stream_id != self.trace.trace_id
        row: Row = [(one_line(stream.label), "accent")] if named else []
        if stream.superseded:
            row.append((" not used", "warn"))
        if not stream.done and not self.trace.over:
            row.append((f" ● ~{stream.rate():.0f} tok/s", "busy"))
        if stream.gaps:
            row.append((f" {stream.gaps} missing", "warn"))
        return row

    def note(self) -> str:
        """How much there is, and how it is shown."""
        stream = self.stream
        if stream is None:
            return ""
        mode = "raw" if self.raw else "Markdown"
        rate = f" · ~{count(stream.rate())} tok/s" if stream.rate() else ""
        return f"{count(stream.chunks)} chunks · {count(stream.chars)} chars{rate} · {mode}"

    def copy_text(self) -> str:
        """The whole stream."""
        return self.stream.text() if self.stream else ""

    def row(self, index: int, width: int) -> Row:
        """One line; a cursor at the end of a stream that goes on."""
        if index < len(self._head):
            return self._head[index]
        row = self._tail[index - len(self._head)]
        stream = self.stream
        if index == len(self) - 1 and stream and self.trace and not stream.done and not self.trace.over:
            return [*row, ("▌", "busy")]
        return row


class LogsView(View):
    """What user code printed and logged, newest last; long lines are wrapped."""

    label = "Logs"
    help = (
        """What the code printed and logged, newest last, and what the host has to say.
✖ error   ▲ warning   │ written to stderr""",
        [
            ("/", "filter;  esc takes it away"),
            ("G", "stay at the end"),
            ("y", "copy the line"),
            ("[  ]", "stream and the other tabs"),
        ],
    )
    empty = "Nothing printed or logged."

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[LogLine] = deque(maxlen=MAX_LOGS)
        self.filter = ""
        self.follow = True
        self._rows: list[tuple[LogLine, str, bool]] = []
        self._width = 60
        self._stale = True

    def add(self, lines: list[LogLine]) -> None:
        """Take new lines."""
        full = len(self.lines) + len(lines) > MAX_LOGS
        self.lines.extend(lines)
        if full:
            self._stale = True
        elif not self._stale:
            for line in lines:
                self._rows += self._wrapped(line)
        self.touch()

    def set_filter(self, text: str) -> None:
        """Show only lines with this text."""
        self.filter = text.strip()
        self._stale = True
        self.sync()

    def resize(self, width: int, height: int) -> None:
        """Wrap again when the width changed."""
        if width != self._width:
            self._width, self._stale = width, True
        self.sync()
        super().resize(width, height)

    def sync(self) -> None:
        """Lay out again what has to be."""
        if self._stale:
            self._stale = False
            self._rows = [row for line in self.lines for row in self._wrapped(line)]
            self.touch()
        self.settle()

    def _wrapped(self, line: LogLine) -> list[tuple[LogLine, str, bool]]:
        if self.filter and self.filter.lower() not in f"{line.text} {line.source} {line.level or ''}".lower():
            return []
        texts = wrap(one_line(line.text[:20_000]), max(self._width - 10, 10))
        return [(line, piece, number == 0) for number, piece in enumerate(texts)]

    def __len__(self) -> int:
        return len(self._rows)

    def go(self, index: int) -> None:
        """At the last row, go on following."""
        super().go(index)
        self.follow = self.cursor == len(self) - 1

    def title(self) -> Row:
        """The filter."""
        return [(f"/{one_line(self.filter)}", "accent")] if self.filter else []

    def note(self) -> str:
        """How many lines."""
        return f"{len(self.lines):,} lines" if self.lines else ""

    def copy_text(self) -> str:
        """The line under the cursor."""
        return self._rows[self.cursor][0].text if 0 <= self.cursor < len(self._rows) else ""

    def row(self, index: int, width: int) -> Row:
        """When, and what; errors and warnings stand out by a mark."""
        line, piece, first = self._rows[index]
        level = (line.level or "").upper()
        bad = level in {"ERROR", "CRITICAL"}
        role = "error" if bad or (line.source == "stderr" and not level) else "warn" if level == "WARNING" else ""
        mark = "✖" if bad else "▲" if level == "WARNING" else "│" if line.source == "stderr" else " "
        stamp = time.strftime("%H:%M:%S", time.localtime(line.ts)) if first else ""
        return [(f"{stamp:>8}", "dim"), (mark + " ", role), (piece, role)]
