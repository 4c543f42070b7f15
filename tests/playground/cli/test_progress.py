from __future__ import annotations

import io
from typing import Any

import pytest

from playground.cli.console import Console
from playground.cli.progress import Progress
from playground.protocol import HOST_TRACE, Events, LogLine, Logs, Stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Watch:
    """A progress with the frames that it gets, and what it wrote."""

    def __init__(self, *, terminal: bool = False, quiet: bool = False) -> None:
        self.err = Terminal() if terminal else io.StringIO()
        self.progress = Progress(Console(io.StringIO(), self.err), quiet=quiet)
        self.progress.follow("t")

    def event(self, kind: str, name: str = "work", trace_id: str = "t", **data: Any) -> None:
        event = {"trace_id": trace_id, "span_id": "1", "kind": kind, "name": name, "data": data}
        frame = Stream(events=[event]) if kind == "stream.chunk" else Events(events=[event])
        self.progress.show(frame)

    def log(self, text: str, source: Any = "stdout") -> None:
        self.progress.show(Logs(lines=[LogLine(ts=0.0, source=source, text=text)]))

    @property
    def said(self) -> str:
        return self.err.getvalue()


@pytest.fixture(autouse=True)
def no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


def test_streamed_text_is_shown_as_it_comes_and_nothing_joins_its_lines() -> None:
    watch = Watch()

    watch.event("stream.chunk", stream_id="s", text="# Hea\x1b")
    watch.event("stream.chunk", stream_id="s", text="ding\nand ")
    watch.log("printed\x07")
    watch.event("stream.chunk", stream_id="other", text="more")
    watch.progress.finish()

    assert watch.said == "# Hea␛ding\nand \nprinted␇\n── other ──\nmore\n"
    assert watch.progress.streamed


def test_what_a_planner_says_has_titles_and_what_it_takes_back_is_said() -> None:
    watch = Watch()

    def say(stream_id: str, text: str, done: bool = False, **meta: Any) -> None:
        watch.event("stream.chunk", stream_id=stream_id, text=text, done=done, meta=meta, of="5")

    say("p[0]/thinking", "Hm.", channel="thinking")
    say("p[0]/answer", "Thir", channel="answer")
    say("p[0]/answer", "", done=True, channel="answer", superseded=True)
    say("p[0]/log", "200", channel="tool", tool="fetch", stream="log")
    say("p[0]/answer#1", "Three.", channel="answer")
    say("p[0]/answer#1", "", done=True, channel="answer")
    watch.progress.finish()

    assert watch.said == (
        "── thinking ──\nHm.\n── answer ──\nThir\n── taken back ──\n── fetch: log ──\n200\n── answer ──\nThree.\n"
    )


def test_a_retry_says_why() -> None:
    watch = Watch()

    error = {"type": "KeyError", "message": "'x'", "file": "/f/a.py", "line": 3}
    watch.event("attempt.end", status="error", error=error)
    watch.event("node.retry", attempt=1, sleep_s=0.25, error="KeyError('x')")
    watch.event("node.retry", name="other", attempt="?", error=None)

    assert watch.said == "↻ work: attempt 2 in 0.25 s: KeyError: 'x'  at /f/a.py:3\n↻ other: another attempt\n"
    assert watch.progress.failures == {"work": error}


def test_other_traces_and_the_log_of_the_runtime_are_left_out() -> None:
    watch = Watch()

    watch.event("stream.chunk", trace_id="another", text="not ours")
    watch.log("penguiflow.core: node_error\nTraceback …", source="log")
    watch.log("my.module: careful", source="log")
    watch.progress.show(Stream(events=[], dropped=3))
    watch.progress.show(Logs(lines=[], dropped=4))

    assert watch.said == ("my.module: careful\n(3 chunks of text left out)\n(4 lines of output left out)\n")


def test_a_stall_is_told_once_and_not_at_once() -> None:
    watch = Watch()
    place: dict[str, Any] = {"file": "/f/a.py", "line": 28, "function": "fetch", "text": "time.sleep(5)"}

    for milliseconds in (260, 1250, 2250):
        watch.event("stall", trace_id=HOST_TRACE, ms=milliseconds, **place)

    assert watch.said == "⚠ the event loop is blocked since 1.25 s at /f/a.py:28 in fetch: time.sleep(5)\n"


def test_quiet_says_nothing() -> None:
    watch = Watch(quiet=True, terminal=True)

    watch.event("stream.chunk", stream_id="s", text="text")
    watch.event("node.retry", attempt=1)
    watch.log("printed")
    watch.progress.tick()
    watch.progress.note("note")

    assert watch.said == ""


def test_a_line_of_progress_after_a_second_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("playground.cli.progress.time.monotonic", lambda: now[0])
    terminal, pipe = Watch(terminal=True), Watch()

    for watch in (terminal, pipe):
        watch.event("node.start", name="fetch\x1b")
        watch.progress.tick()
        now[0] += 1.5
        watch.progress.tick()
        watch.log("printed")

    assert pipe.said == "printed\n"
    assert terminal.said.startswith("\r\x1b[2K⠋ 1.50 s · fetch␛ · 1 events")
    assert terminal.said.endswith("\r\x1b[2Kprinted\n")


def test_no_progress_in_the_middle_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("playground.cli.progress.time.monotonic", lambda: now[0])
    watch = Watch(terminal=True)

    watch.event("stream.chunk", stream_id="s", text="half a line")
    now[0] += 5
    watch.progress.tick()

    assert watch.said == "half a line"
