"""One worker process as its supervisor sees it: orders out, reports in, output, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from playground.host.control import (
    MAX_LINE_BYTES,
    FromWorker,
    Stop,
    decode_from_worker,
    encode_line,
)
from playground.host.started import end_started
from playground.protocol import LogLine, Logs
from playground.supervisor.spawn import Spawned, spawn

if TYPE_CHECKING:
    from penguiflow.recording.masking import Masker

STDERR_KEPT = 16 * 1024
"""Bytes of the newest standard error kept for the message about a death."""
CHUNK_BYTES = 64 * 1024
MAX_LINES = 1000
"""Lines that wait to be told; the oldest are dropped, counted."""
MAX_LINE_TEXT = 4096
MAX_WHOLE_TEXT = 1024 * 1024
"""As `MAX_LINE_TEXT`, where nothing is to be lost: a longer line becomes several."""
TELL_EVERY_S = 0.03
LAST_READS = 20
"""Pieces of output read after a death: more than a pipe holds."""
LAST_REPORTS_S = 2.0
"""How long what a dead worker had reported may take to be read; another process may hold its channel open."""
STOP_S = 1.5
"""After an order to stop, the worker has ended itself by then, or is killed."""

OutputSource = Literal["stdout", "stderr"]
PRINTED: tuple[OutputSource, ...] = ("stdout", "stderr")
"""Sources of lines that are told by `on_lines`; clients on this side need not take them from frames too."""


class Death(NamedTuple):
    """How a worker ended."""

    exit_code: int | None
    signal: str | None
    stderr: str
    expected: bool
    """It was told to."""
    pid: int = 0
    at: float = 0.0
    """Unix seconds."""

    @property
    def text(self) -> str:
        """One line for people."""
        return f"killed by {self.signal}" if self.signal is not None else f"exit code {self.exit_code}"


class Worker:
    """A worker process. Its callbacks run on the supervisor's loop."""

    def __init__(
        self,
        spawned: Spawned,
        *,
        on_message: Callable[[Worker, FromWorker], None],
        on_death: Callable[[Worker, Death], None],
        on_lines: Callable[[Worker, Logs], None],
        lossless: bool = False,
    ) -> None:
        """Take over a process that was started. Needs a running loop.

        With `lossless` every line that it prints is told, and to nobody but us; see `hold_output`.
        """
        self.process = spawned.process
        self.pid = spawned.process.pid
        self._mark = spawned.mark
        self.generation = 0
        self.death: Death | None = None
        self.ended = asyncio.Event()
        self._on_message = on_message
        self._on_death = on_death
        self._on_lines = on_lines
        self._loop = asyncio.get_running_loop()
        self._control: socket.socket = spawned.control
        self._writer: asyncio.StreamWriter | None = None
        self._unsent: list[bytes] = []
        self._told_to_end = False
        self._stderr = bytearray()
        self._lossless = lossless
        self._outputs = {
            descriptor: _Lines(source, lossless=lossless)
            for descriptor, source in zip((spawned.stdout, spawned.stderr), PRINTED, strict=True)
        }
        self._lines: deque[LogLine] = deque()
        self._dropped = 0
        self._not_relayed = 0
        """Lines that the worker's other clients do not get."""
        self._telling: asyncio.TimerHandle | None = None
        self._reading = self._loop.create_task(self._read_control())
        self._watching = self._loop.create_task(self._watch())
        for descriptor in self._outputs:
            self._loop.add_reader(descriptor, self._read_output, descriptor)

    @classmethod
    def start(
        cls,
        listening: socket.socket,
        *,
        on_message: Callable[[Worker, FromWorker], None],
        on_death: Callable[[Worker, Death], None],
        on_lines: Callable[[Worker, Logs], None],
        lossless: bool = False,
    ) -> Worker:
        """Start a process."""
        spawned = spawn(listening)
        return cls(spawned, on_message=on_message, on_death=on_death, on_lines=on_lines, lossless=lossless)

    def hold_output(self, held: bool) -> None:
        """Leave what it prints in its pipes, which makes it wait once they are full, or go on reading."""
        for descriptor in self._outputs:
            if held:
                self._loop.remove_reader(descriptor)
            else:
                self._loop.add_reader(descriptor, self._read_output, descriptor)

    def send(self, message: BaseModel) -> None:
        """Give an order. One that is dead hears nothing."""
        data = encode_line(message)
        if self._writer is None:
            self._unsent.append(data)
        elif self.death is None:
            self._writer.write(data)

    async def stop(self) -> None:
        """End it in order if it lets us, by force if not; returns when it is gone."""
        self._told_to_end = True
        self.send(Stop())
        try:
            async with asyncio.timeout(STOP_S):
                await self.ended.wait()
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    @property
    def ending(self) -> bool:
        """Whether it was told to end."""
        return self._told_to_end

    def expect_end(self) -> None:
        """From now on its end is no accident."""
        self._told_to_end = True

    def kill(self) -> None:
        """End it, and everything in its process group, at once."""
        if self.death is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close_control(self) -> None:
        """Hang up: to the worker, that is the end of its supervisor."""
        if self._writer is not None:
            self._writer.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _read_control(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=MAX_LINE_BYTES)
        for data in self._unsent:
            self._writer.write(data)
        self._unsent.clear()
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                try:
                    message = decode_from_worker(line)
                except ValidationError:  # user code may write to any descriptor it finds
                    continue
                self._on_message(self, message)

    async def _watch(self) -> None:
        """Wait for the end of the process, whoever else may hold its channels open."""
        await self._wait_exit()
        died_at = time.time()
        # The process is not reaped yet, so its number still means its group and no other. What left that has its mark.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await asyncio.to_thread(end_started, self._mark)
        code = self.process.wait()
        for descriptor in list(self._outputs):
            for _ in range(LAST_READS):
                if descriptor in self._outputs:
                    self._read_output(descriptor)
            self._close_output(descriptor)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self._reading, LAST_REPORTS_S)
        self.close_control()
        self._tell_lines()
        stderr = _masker().text(self._stderr.decode(errors="replace"))
        name = _signal_name(-code) if code < 0 else None
        self.death = Death(None if code < 0 else code, name, stderr, self._told_to_end, self.pid, died_at)
        self.ended.set()
        self._on_death(self, self.death)

    async def _wait_exit(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not on this system
            await asyncio.to_thread(os.waitid, os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            return
        exited = asyncio.Event()
        self._loop.add_reader(descriptor, exited.set)
        try:
            await exited.wait()
        finally:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def _read_output(self, descriptor: int) -> None:
        """Read one piece of what it printed; the rest has to wait its turn, so that a flood of it stays harmless."""
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close_output(descriptor)
            return
        output = self._outputs[descriptor]
        if output.source == "stderr":
            self._stderr += data
            del self._stderr[:-STDERR_KEPT]
        lines = output.feed(data)
        self._dropped += output.take_dropped()
        self._lines.extend(lines)
        if self._lossless and len(self._lines) > MAX_LINES:
            self._tell_lines()
        while len(self._lines) > MAX_LINES:
            self._lines.popleft()
            self._dropped += 1
        if self._telling is None:
            self._telling = self._loop.call_later(TELL_EVERY_S, self._tell_lines)

    def _tell_lines(self) -> None:
        """Tell our side directly, which also hears the last words, and the worker for its other clients."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if not self._lines:
            return
        lines, dropped = list(self._lines), self._dropped
        self._lines.clear()
        self._dropped = 0
        self._on_lines(self, Logs(lines=lines, dropped=dropped))
        if self._lossless:
            return
        if self._writer is None or self._writer.transport.get_write_buffer_size() > CHUNK_BYTES:
            # It is not warm yet, or holds its interpreter and does not read.
            self._not_relayed += len(lines) + dropped
            return
        self.send(Logs(lines=lines, dropped=dropped + self._not_relayed))
        self._not_relayed = 0

    def _close_output(self, descriptor: int) -> None:
        output = self._outputs.pop(descriptor, None)
        if output is not None:
            self._lines.extend(output.rest())
            self._loop.remove_reader(descriptor)
            os.close(descriptor)


class _Lines:
    """Bytes in, lines out."""

    def __init__(self, source: OutputSource, *, lossless: bool = False) -> None:
        self.source: OutputSource = source
        self._max_text = MAX_WHOLE_TEXT if lossless else MAX_LINE_TEXT
        self._max_lines = None if lossless else MAX_LINES
        self._partial = b""
        self._dropped = 0

    def feed(self, data: bytes) -> list[LogLine]:
        """The lines that are complete by now; of a great many only the last ones, the others are counted."""
        *complete, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > self._max_text:
            complete.append(self._partial)
            self._partial = b""
        if self._max_lines is not None and len(complete) > self._max_lines:
            self._dropped += len(complete) - self._max_lines
            complete = complete[-self._max_lines :]
        now = time.time()
        return [self._line(now, text) for text in complete]

    def rest(self) -> list[LogLine]:
        """What is left without a line's end."""
        text, self._partial = self._partial, b""
        return [self._line(time.time(), text)] if text else []

    def take_dropped(self) -> int:
        """How many lines were left out since the last time."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _line(self, now: float, text: bytes) -> LogLine:
        shown = text if self._max_lines is None else text[: self._max_text]
        return LogLine(ts=now, source=self.source, text=_masker().text(shown.decode(errors="replace").rstrip("\r")))


@functools.cache
def _masker() -> Masker:
    """Hides the secrets that this process knows of: those of its environment."""
    from penguiflow.recording.masking import Masker

    return Masker()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
