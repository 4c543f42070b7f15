"""What a worker says and prints, and how its end is told: real processes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from playground.host.control import Beat, FromWorker, Ready
from playground.supervisor.process import MAX_LINE_TEXT, MAX_LINES, MAX_WHOLE_TEXT, Death, Worker, _Lines
from playground.supervisor.spawn import PACKAGE_FOLDER, PortInUse, listen, prestart, python_path


class Started:
    """A worker that was given nothing to do."""

    def __init__(self) -> None:
        self.listening: socket.socket = listen()
        self.messages: list[FromWorker] = []
        self.deaths: list[Death] = []
        self.worker = Worker.start(
            self.listening,
            on_message=lambda _, message: self.messages.append(message),
            on_death=lambda _, death: self.deaths.append(death),
            on_lines=lambda _, logs: None,
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 (any condition)
                await asyncio.sleep(0.005)


@pytest.fixture
async def started() -> AsyncIterator[Started]:
    started = Started()
    yield started
    await started.worker.stop()
    started.listening.close()


async def test_a_warm_worker_says_so_and_stops_when_told(started: Started) -> None:
    await started.until(lambda: any(isinstance(message, Ready) for message in started.messages))
    told = [message for message in started.messages if not isinstance(message, Beat)]
    assert told == [Ready(pid=started.worker.pid)]
    await started.worker.stop()
    (death,) = started.deaths
    assert death.expected
    await started.worker.stop()
    assert len(started.deaths) == 1


async def test_a_worker_can_be_stopped_before_it_is_warm(started: Started) -> None:
    async with asyncio.timeout(60):
        await started.worker.stop()
    assert started.deaths[0].expected


async def test_an_unexpected_end_is_told_with_its_cause(started: Started) -> None:
    await started.until(lambda: any(isinstance(message, Ready) for message in started.messages))
    os.kill(started.worker.pid, 11)
    await started.until(lambda: started.deaths)
    (death,) = started.deaths
    assert (death.signal, death.exit_code, death.expected) == ("SIGSEGV", None, False)
    assert death.text == "killed by SIGSEGV"
    assert "Segmentation fault" in death.stderr


async def test_the_end_of_the_channel_is_the_end_of_the_worker() -> None:
    started = Started()
    await started.until(lambda: any(isinstance(message, Ready) for message in started.messages))
    started.worker.close_control()
    await started.until(lambda: started.deaths)
    started.listening.close()


def test_lines_are_cut_and_counted() -> None:
    lines = _Lines("stdout")
    assert [line.text for line in lines.feed(b"a\r\nb")] == ["a"]
    assert [line.text for line in lines.feed(b"c\n\xff\n")] == ["bc", "\N{REPLACEMENT CHARACTER}"]
    (long,) = lines.feed(b"x" * (MAX_LINE_TEXT + 10))
    assert long.text == "x" * MAX_LINE_TEXT
    assert len(lines.feed(b"\n" * (MAX_LINES + 7))) == MAX_LINES
    assert lines.take_dropped() == 7
    assert lines.take_dropped() == 0
    assert lines.feed(b"rest") == []
    assert [line.text for line in lines.rest()] == ["rest"]


def test_where_nothing_may_be_lost_lines_are_whole() -> None:
    lines = _Lines("stdout", lossless=True)
    assert [len(line.text) for line in lines.feed(b"x" * MAX_LINE_TEXT * 3 + b"\n")] == [MAX_LINE_TEXT * 3]
    assert len(lines.feed(b"\n" * (MAX_LINES + 7))) == MAX_LINES + 7
    assert lines.take_dropped() == 0
    pieces = lines.feed(b"y" * (MAX_WHOLE_TEXT + 1)) + lines.feed(b"z\n")
    assert "".join(line.text for line in pieces) == "y" * (MAX_WHOLE_TEXT + 1) + "z"


def test_a_port_can_be_asked_for_and_may_be_taken() -> None:
    for _ in range(100):
        taken = listen()
        port = taken.getsockname()[1]
        try:
            with pytest.raises(PortInUse, match=f"127.0.0.1:{port}"):
                prestart(port)
        finally:
            taken.close()
        try:
            again = listen(port)
        except PortInUse:  # somebody else on this machine was quicker
            continue
        assert again.getsockname() == ("127.0.0.1", port)
        again.close()
        return
    pytest.fail("no port could be had again")


def test_the_users_python_path_is_kept_for_user_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/one", "", "/two"]))
    assert python_path() == ["/one", "/two"]
    assert PACKAGE_FOLDER not in python_path()
