"""What `pf run` tells while a flow runs: streamed text, retries, logs, and a line that shows that time passes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from playground.cli.console import Console
from playground.dashboard.text import clip, duration, many_lines, one_line
from playground.protocol import HOST_TRACE, BaseFrame, Events, Logs, Stream
from playground.render.failure import describe_error, short_path

__all__ = ["Progress"]

ASKED = "ctx.ask"
"""The name of the record that a question leaves."""
SILENT_S = 1.0
"""A run that takes longer than this shows a line of progress, and a stalled loop is named."""
_TOLD_BETTER = ("penguiflow.core:", "penguiflow.state: events are ")
"""Log lines left out: what befalls nodes is told by their events, without the runtime's own traceback; what befalls the
store is told with the run's result."""
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Progress:
    """Follows the frames of one run and writes to stderr."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._begun = time.monotonic()
        self._last_text = self._begun
        self._trace_id: str | None = None
        self._running: dict[str, str] = {}
        self._late: list[str] = []
        """Nodes whose time was up."""
        self._events = 0
        self._stream: str | None = None
        self._mid_line = False
        self._line_shown = False
        self._ticks = 0
        self._stalled_at: str | None = None
        self._held: list[BaseFrame] | None = None
        """What is to be shown later."""
        self.streamed = False
        """True once text of the flow was shown."""
        self.failures: dict[str, Mapping[str, Any]] = {}
        """The last error of an attempt of each node: `{type, message, traceback, file, line}`."""

        self.unanswered: int | None = None
        """The event of a question that nobody was there to answer."""
        self.pause: Mapping[str, Any] | None = None
        """What a planner's `planner.pause` told last."""

    def follow(self, trace_id: str) -> None:
        """The run begins and has this trace id; what belongs to other traces is left out."""
        self._trace_id = trace_id
        self._begun = self._last_text = time.monotonic()

    @property
    def unfinished(self) -> list[str]:
        """Nodes that have not ended, or ended because their time was up."""
        return list(dict.fromkeys([*self._late, *self._running.values()]))

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, before that since the command did."""
        return time.monotonic() - self._begun

    def hold(self) -> None:
        """Show nothing for now: somebody is asked."""
        self.finish()
        self._held = []

    def release(self) -> None:
        """Show what has come meanwhile, and go on."""
        held, self._held = self._held or [], None
        self._last_text = time.monotonic()
        for frame in held:
            self.show(frame)

    def show(self, frame: BaseFrame) -> None:
        """Take one frame of the host; those that say nothing of a run's progress are passed over."""
        if self._held is not None:
            self._held.append(frame)
        elif isinstance(frame, Logs):
            for line in frame.lines:
                if line.source != "log" or not line.text.startswith(_TOLD_BETTER):
                    self._tell(many_lines(line.text.rstrip("\n")))
            if frame.dropped:
                self._tell(f"({frame.dropped} lines of output left out)", role="dim")
        elif isinstance(frame, Events | Stream):
            if isinstance(frame, Stream) and frame.dropped:
                self._tell(f"({frame.dropped} chunks of text left out)", role="dim")
            for event in frame.events:
                self._show_event(event)

    def _show_event(self, event: Mapping[str, Any]) -> None:
        kind, data = event["kind"], event.get("data") or {}
        if event["trace_id"] == HOST_TRACE:
            if kind == "stall":
                self._show_stall(data)
            return
        if self._trace_id is not None and event["trace_id"] != self._trace_id:
            return
        self._events += 1
        if kind == "stream.chunk":
            self._show_chunk(data)
        elif kind == "node.start":
            self._running[event["span_id"]] = event["name"]
        elif kind == "node.end":
            self._running.pop(event["span_id"], None)
            if data.get("status") == "timeout":
                self._late.append(str(event["name"]))
        elif kind == "attempt.end" and isinstance(data.get("error"), dict):
            self.failures[event["name"]] = data["error"]
        elif kind == "record" and event["name"] == ASKED and isinstance(data.get("error"), dict):
            self.unanswered = event["seq"] if data["error"].get("type") == "NobodyAnswers" else self.unanswered
        elif kind == "planner.pause":
            self.pause = data
        elif kind == "node.retry":
            self._show_retry(str(event["name"]), data)

    def _show_retry(self, name: str, data: Mapping[str, Any]) -> None:
        sleep, attempt = data.get("sleep_s"), data.get("attempt")
        which = f"attempt {attempt + 1}" if isinstance(attempt, int) else "another attempt"
        wait = f" in {duration(sleep)}" if isinstance(sleep, int | float) and sleep > 0 else ""
        error = describe_error(self.failures.get(name) or data.get("error"))
        self._tell(f"↻ {one_line(name)}: {which}{wait}{f': {error}' if error else ''}", role="warn")

    def _show_chunk(self, data: Mapping[str, Any]) -> None:
        text = str(data.get("text") or "")
        stream = str(data.get("stream_id") or "")
        meta = data.get("meta")
        about: Mapping[str, Any] = meta if isinstance(meta, Mapping) and data.get("of") is not None else {}
        if text and not self._quiet:
            self._show_text(stream, text, about)
        if stream == self._stream and about.get("superseded"):
            self._tell("── taken back ──", role="dim")

    def _show_text(self, stream: str, text: str, about: Mapping[str, Any]) -> None:
        channel = about.get("channel")
        if stream != self._stream and (self._stream is not None or channel in ("thinking", "tool")):
            title = {"answer": "answer", "thinking": "thinking", "tool": f"{about.get('tool')}: {about.get('stream')}"}
            self._end_line()
            self._console.tell(self._console.err_paint("dim", f"── {one_line(title.get(str(channel), stream))} ──"))
        self._stream = stream
        self.streamed = True
        self._clear()
        self._console.tell(many_lines(text), end="")
        self._mid_line = not text.endswith("\n")
        self._last_text = time.monotonic()

    def _show_stall(self, data: Mapping[str, Any]) -> None:
        seconds = float(data.get("ms") or 0) / 1000
        place = f"{short_path(str(data.get('file')))}:{data.get('line')} in {data.get('function')}"
        if seconds < SILENT_S or place == self._stalled_at:
            return
        self._stalled_at = place
        text = str(data.get("text") or "").strip()
        code = f": {one_line(text)}" if text else ""
        self._tell(f"⚠ the event loop is blocked since {duration(seconds)} at {one_line(place)}{code}", role="warn")

    def tick(self) -> None:
        """Draw or move the progress line; called a few times a second."""
        if self._held is not None:
            return
        now = time.monotonic()
        quiet_for = now - max(self._last_text, self._begun)
        if (
            self._quiet
            or self._held is not None
            or self._mid_line
            or not self._console.err_terminal
            or quiet_for < SILENT_S
        ):
            return
        names = ", ".join(dict.fromkeys(one_line(name) for name in self._running.values()))
        names = names or ("loading" if self._trace_id is None else "waiting")
        spinner = _FRAMES[self._ticks % len(_FRAMES)]
        self._ticks += 1
        text = clip(
            f"{spinner} {duration(now - self._begun)} · {names} · {self._events} events", self._console.err_width - 1
        )
        self._console.tell("\r\x1b[2K" + self._console.err_paint("dim", text), end="")
        self._line_shown = True

    def note(self, text: str, role: str = "") -> None:
        """Say something that is not part of what the flow says, unless it was asked to be quiet."""
        self._tell(text, role=role)

    def finish(self) -> None:
        """Leave stderr at the beginning of a line."""
        self._clear()
        self._end_line()

    def _tell(self, text: str, role: str = "") -> None:
        if self._quiet:
            return
        self.finish()
        self._console.tell(self._console.err_paint(role, text) if role else text)

    def _clear(self) -> None:
        if self._line_shown:
            self._console.tell("\r\x1b[2K", end="")
            self._line_shown = False

    def _end_line(self) -> None:
        if self._mid_line:
            self._console.tell("")
            self._mid_line = False
