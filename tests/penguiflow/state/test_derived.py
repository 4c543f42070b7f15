"""Connections that are asked in threads, by people who go away in the middle."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest

from penguiflow.state.derived import Derived, in_memory

LIMIT_S = 60.0


def test_whoever_goes_away_does_not_take_the_connection_from_the_thread_at_work() -> None:
    at_work, go_on = threading.Event(), threading.Event()
    opened: list[sqlite3.Connection] = []
    answers: list[object] = []

    def question(connection: sqlite3.Connection) -> object:
        opened.append(connection)
        at_work.set()
        assert go_on.wait(LIMIT_S)
        return connection.execute("SELECT count(*) FROM counted").fetchone()

    kept = Derived(in_memory)
    working = threading.Thread(target=lambda: answers.append(asyncio.run(kept.ask(question))))
    working.start()
    assert at_work.wait(LIMIT_S)
    kept.close()
    go_on.set()
    working.join(LIMIT_S)
    assert answers == [(0,)]
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        opened[0].execute("SELECT 1")


async def test_one_that_is_closed_answers_nobody() -> None:
    kept = Derived(in_memory)
    assert await kept.ask(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    kept.close()
    kept.close()
    with pytest.raises(sqlite3.ProgrammingError, match="waits"):
        await kept.ask(lambda connection: connection.execute("SELECT 1"))


async def test_a_failure_leaves_it_to_be_asked_again() -> None:
    kept = Derived(in_memory)
    with pytest.raises(sqlite3.OperationalError):
        await kept.ask(lambda connection: connection.execute("SELECT nothing"))
    assert await kept.ask(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    kept.close()
