"""The one thread that writes: it gathers what arrives for a moment and commits it together."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from penguiflow.state.batch import Batch
from penguiflow.state.errors import StoreError
from penguiflow.state.files import explain
from penguiflow.state.inserting import insert
from penguiflow.state.intake import Intake, Item, Job, Write, fail, resolve
from penguiflow.state.liveness import SIGN_OF_LIFE_S, sign_off
from penguiflow.state.recovery import close_trace
from penguiflow.state.rows import load_rows
from penguiflow.state.spill import INLINE_BYTES
from penguiflow.state.upkeep import Upkeep

__all__ = ["Writer"]

logger = logging.getLogger("penguiflow.state")

LINGER_S = 0.02
"""How long events gather before they are committed."""
RETRY_S = 0.5
"""Pause between attempts to write to a file that cannot be written."""
CLOSE_TIMEOUT_S = 15.0
_UPKEEP_AT_LAST_S = 600.0
"""When upkeep is done although there is always something to write."""

Chore = Callable[[sqlite3.Connection], bool]
"""A bounded piece of work on the file when there is nothing to write; True when more of it is left."""


class Writer(Intake):
    """Owns the connection that writes. `write` may be called on any one thread, everything else on any."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        writer: int,
        *,
        upkeep: Chore | None = None,
        inline: int = INLINE_BYTES,
    ) -> None:
        super().__init__(str(path), threading.Event())
        self._connection = connection
        self._path = path
        self.writer_id = writer
        self._inline = inline
        self._wake: threading.Event
        self._hurry = threading.Event()
        self._last_sign = time.monotonic()
        self._upkeep = Upkeep(upkeep)
        self._thread = threading.Thread(target=self._run, name="penguiflow-store-writer", daemon=True)
        self._thread.start()

    # -- called by those who write -------------------------------------------------------------------------------------

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> StoreError | None:
        """Commit what is left and end the thread; returns what went wrong, if something did. Can be repeated."""
        self._closing = True
        self.guarded = True
        self._hurry.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return self._failure

    def _commit_now(self) -> None:
        self._hurry.set()
        self._wake.set()

    def _hasten(self) -> None:
        self._hurry.set()

    @property
    def _can_write(self) -> bool:
        return self._thread.is_alive()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._gather():
                self._step()
            self._end()
        except Exception as error:  # whatever it is, those who wait must hear of it
            logger.exception("the store's writer failed; %s gets no further events", self._path)
            self._failure = StoreError(f"{self._path}: the writer failed: {error!r}", path=str(self._path))
        finally:
            self._closing = self.guarded = True
            self._give_up()
            self._connection.close()

    def _gather(self) -> bool:
        """Wait for something to do, then for more of it; False when it is time to end."""
        if not self._queue and not self._pending and not self._jobs:
            self._look_after()
            self._idle = True
            if not self._queue and not self._closing:
                self._wake.wait(self._upkeep.pause(SIGN_OF_LIFE_S if self._known else None))
            self._idle = False
            self._wake.clear()
        elif self._upkeep.is_due(late_s=_UPKEEP_AT_LAST_S):
            self._look_after()
        if not self._closing and (self._queue or self._failure is not None):
            if self._failure is not None:
                self._hurry.wait(RETRY_S)
            elif not self._is_batch():
                self._hurry.wait(LINGER_S)
        self._hurry.clear()
        return not self._closing

    def _look_after(self) -> None:
        """Do a piece of upkeep when it is due; what it cannot do now waits for the next time."""
        if self._upkeep.work is None or not self._upkeep.is_due():
            return
        more = False
        try:
            more = self._upkeep.work(self._connection)
        except sqlite3.Error as error:
            logger.warning("old traces were not removed: %s", explain(error, self._path, writing=True))
        self._upkeep.done(more=more)
        self._compare_again()

    def _step(self) -> None:
        """Commit what has gathered, up to the next job; then do the job."""
        self._take()
        self._commit()
        while self._pending and self._failure is None:
            self._commit()
        postponed = []
        while self._jobs:
            job = self._jobs[0]
            if isinstance(job, Job):
                self._do(job)
            elif self._failure is None:
                self._break_off(job.trace_id)
            else:
                postponed.append(job)
            self._jobs.popleft()
        self._jobs.extend(postponed)
        if self._queue and self._failure is None:
            # More is there than fits: no need to wait for it.
            self._hurry.set()
        self._wake_up()

    def _commit(self) -> None:
        """Commit a transaction's worth of what is pending."""
        items = self._some()
        if not items:
            self._give_sign()
            return
        try:
            self._write_items(items).committed()
        except sqlite3.Error as error:
            self._failed(explain(error, self._path, writing=True))
            return
        self._committed(items)

    def _write_items(self, items: list[Item]) -> Batch:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            batch = Batch(self.writer_id, self._known, version=version, inline=self._inline)
            told = [item for item in items if not isinstance(item, Write)]
            if len(told) < len(items):
                for item in items:
                    if isinstance(item, Write):
                        connection.execute(item.sql, item.parameters)
            unsure = batch.gather(told)
            for _ in batch.take(load_rows(connection, unsure, self.writer_id) if unsure else {}):
                time.sleep(0)  # lets the loop's thread go on: what it does matters more
            insert(connection, batch)
            if time.monotonic() - self._last_sign > SIGN_OF_LIFE_S / 2:
                self._sign()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.dropped += batch.lost
        return batch

    def _break_off(self, trace_id: str) -> None:
        self._known.pop(trace_id, None)
        try:
            close_trace(self._connection, trace_id, {"reason": "events were lost"}, writer=self.writer_id)
        except sqlite3.Error as error:
            self._failed(explain(error, self._path, writing=True))

    def _do(self, job: Job) -> None:
        if self._failure is not None:
            fail(job.future, self._failure)
            return
        try:
            result = None if job.function is None else job.function(self._connection)
        except Exception as error:  # whatever it is, the one who asked must hear of it
            # A `ValueError` is about what was asked for, everything else about the file.
            fail(job.future, error if isinstance(error, ValueError) else explain(error, self._path, writing=True))
        else:
            resolve(job.future, result)
        if job.function is not None:
            self._compare_again()

    def _give_sign(self) -> None:
        """With nothing to commit: say that the writer is there, or try whether something can be written again."""
        due = self._known and time.monotonic() - self._last_sign > SIGN_OF_LIFE_S / 2
        if due or self._failure is not None:
            try:
                self._sign()
            except sqlite3.Error as error:
                self._failed(explain(error, self._path, writing=True))
            else:
                self._recovered()

    def _sign(self) -> None:
        self._connection.execute("UPDATE writers SET seen = ? WHERE id = ?", (time.time(), self.writer_id))
        self._last_sign = time.monotonic()

    def _end(self) -> None:
        """Write what is left, close the traces that lost events, sign off."""
        while self._queue or self._pending or self._jobs:
            self._step()
            if self._failure is not None:
                self.dropped += self.told_in - self._told_out
                return
        for trace_id in self._broken:
            self._break_off(trace_id)
        try:
            sign_off(self._connection, self.writer_id)
        except sqlite3.Error as error:
            self._failure = explain(error, self._path, writing=True)
