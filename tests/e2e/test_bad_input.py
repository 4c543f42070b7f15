"""Whatever is wrong is said once, with the right exit code, and nothing half-written is left behind."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
AddFlow = Callable[..., str]


def one_message(result: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """The command failed as it should: its code, one message on stderr with these words, nothing on stdout."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("pf:") == 1
    assert result.stderr.startswith("pf: ")
    assert "Traceback (most recent call last)" not in result.stderr
    for words in said:
        assert words in result.stderr


def record_run(pf: RunCommand, target: str, trace_id: str) -> None:
    result = pf("run", target, "--input", '{"name": "Pip"}', "--trace-id", trace_id, "--quiet")
    assert result.returncode == 0, result.stderr


def test_no_such_file(pf: RunCommand, project: Path) -> None:
    one_message(pf("run", "flows/missing.py"), 3, "no such file: flows/missing.py")
    one_message(pf("graph", "flows/missing.py"), 3, "no such file: flows/missing.py")
    assert not (project / ".penguiflow").exists()


def test_no_such_module(pf: RunCommand) -> None:
    one_message(pf("run", "no_such_module_anywhere", "--no-store"), 3, "no_such_module_anywhere")


def test_a_module_without_a_flow(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("empty", "VALUE = 1\n")

    one_message(pf("run", target, "--no-store"), 2, "flows/empty.py", "hint:")


def test_a_syntax_error_names_file_and_line(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("broken", "x = 1\ny = (\n")

    one_message(pf("run", target, "--no-store"), 2, "flows/broken.py:2")


def test_an_error_at_import_shows_the_frames_of_the_user(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("raises", "def load():\n    raise RuntimeError('no settings')\n\nload()\n")

    result = pf("run", target, "--no-store")

    one_message(result, 2, "flows/raises.py:2", "no settings", "flows/raises.py:4")
    assert "site-packages" not in result.stderr
    assert "playground/" not in result.stderr


def test_a_flow_with_a_cycle(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow(
        "circle",
        """
        from penguiflow import Node, create

        async def step(message, ctx):
            return message

        a, b = Node(step, name="first"), Node(step, name="second")
        flow = create(a.to(b), b.to(a))
        """,
    )

    one_message(pf("run", target, "--no-store"), 2, "flows/circle.py", "cycle", "first", "second")


def test_a_flow_without_an_entry(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    target = add_flow(
        "round",
        """
        from penguiflow import Node, create

        async def step(message, ctx):
            return message

        again = Node(step, name="again")
        flow = create(again.to(again), allow_cycles=True)
        """,
    )

    one_message(pf("run", target), 2, "flows/round.py", "no entry", "again")
    one_message(pf("graph", target), 2, "flows/round.py", "no entry")
    assert not (project / ".penguiflow").exists()


def test_json_that_does_not_fit_names_the_field(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("greet")

    one_message(pf("run", target, "--input", '{"name": "Pip", "age": "old"}', "--no-store"), 2, "/age: ")


def test_an_input_that_is_needed_is_asked_for(pf: RunCommand, add_flow: AddFlow) -> None:
    target = add_flow("greet")

    one_message(pf("run", target, "--no-store"), 2, "needs an input: ", "name", "--input")


def test_no_terminal(pf: RunCommand) -> None:
    one_message(pf("tui"), 2, "needs a terminal", "pf run", "--screenshot")


def test_a_port_in_use(pf: RunCommand) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        one_message(pf("tui", "--port", str(port), "--screenshot", "x.svg"), 2, f"127.0.0.1:{port}", "in use")


def test_unknown_trace_and_ambiguous_prefix(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    target = add_flow("greet")

    one_message(pf("inspect", "last"), 3, "pf traces")
    assert not (project / ".penguiflow").exists()
    record_run(pf, target, "abc-1")
    record_run(pf, target, "abc-2")
    one_message(pf("inspect", "xyz"), 3, "xyz")
    one_message(pf("inspect", "abc"), 3, "abc-1", "abc-2")
    assert pf("inspect", "abc-1").returncode == 0


def test_a_database_of_a_newer_version(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    target = add_flow("greet")
    record_run(pf, target, "one")
    database = project / ".penguiflow" / "state.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 999")
    connection.close()

    one_message(pf("run", target, "--input", '{"name": "Pip"}'), 2, "999", str(database))
    one_message(pf("traces"), 2, "999", str(database))


def test_a_corrupt_database_is_left_alone(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    target = add_flow("greet")
    database = project / ".penguiflow" / "state.db"
    database.parent.mkdir()
    database.write_bytes(b"this is no database, and somebody may want it back" * 100)
    before = database.read_bytes()

    one_message(pf("run", target, "--input", '{"name": "Pip"}'), 5, str(database))
    one_message(pf("inspect", "last"), 5, str(database))
    assert database.read_bytes() == before


def obey_permissions() -> None:
    """Let a child process of root find closed what everybody else finds closed; others are bound anyway."""
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    for capability in (dac_override, dac_read_search):
        if os.geteuid() == 0 and ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
            os._exit(99)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root can be bound by permissions on Linux only")
def test_a_read_only_directory(add_flow: AddFlow, project: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    target = add_flow(
        "touch",
        f"""
        import pathlib

        from penguiflow import Node, create

        async def step(message: int, ctx):
            return message

        pathlib.Path({str(ran)!r}).touch()
        flow = create(Node(step, name="step").to())
        """,
    )
    project.chmod(0o555)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "playground", "run", target, "--input", "1"],
            cwd=project,
            stdin=subprocess.DEVNULL,
            preexec_fn=obey_permissions,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        project.chmod(0o755)

    one_message(result, 5, str(project))
    assert not ran.exists()
    assert sorted(path.name for path in project.iterdir()) == ["flows", "pyproject.toml"]


@pytest.fixture
def recorded(add_flow: AddFlow, project: Path, some_runs: Path) -> Path:
    """A database with some runs in it."""
    add_flow("greet")
    shutil.copytree(some_runs.parent, project / ".penguiflow")
    return project / ".penguiflow" / "state.db"


def damage(database: Path, *names: str) -> None:
    """Overwrite the first page of tables and indexes, or of all of them."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    roots: dict[str, int] = dict(connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with database.open("r+b") as file:
        for name in names or roots:
            file.seek((roots[name] - 1) * size)
            file.write(b"\xa5" * size)


@pytest.mark.parametrize("table", ["traces_started", "sqlite_autoindex_traces_1", "event_chunks"])
def test_a_run_that_cannot_be_recorded_says_so_once_and_loses_nothing(
    pf: RunCommand, recorded: Path, table: str
) -> None:
    damage(recorded, table)

    result = pf("run", "flows/greet.py", "--input", '{"name": "Pip"}')

    assert result.returncode == 5
    assert json.loads(result.stdout) == {"text": "hello Pip"}
    assert result.stderr.count("damaged") == 1
    assert result.stderr.startswith(f"pf: the run was not recorded: {recorded} is damaged")
    assert "pf inspect" not in result.stderr


@pytest.mark.parametrize("index", ["traces_running", "traces_session"])
def test_a_run_that_nobody_could_list_is_not_begun(pf: RunCommand, recorded: Path, index: str) -> None:
    damage(recorded, index)

    one_error(pf("run", "flows/greet.py", "--input", '{"name": "Pip"}'), 5, str(recorded), "damaged")


def test_the_json_of_a_run_that_cannot_be_recorded_tells_it(pf: RunCommand, recorded: Path) -> None:
    keys = {"trace_id", "status", "output", "error", "version"}
    before = json.loads(pf("run", "flows/greet.py", "--input", '{"name": "Pip"}', "--json").stdout)
    damage(recorded, "traces_started")

    result = pf("run", "flows/greet.py", "--input", '{"name": "Pip"}', "--json", "--quiet")

    assert set(before) == keys
    output = json.loads(result.stdout)
    assert set(output) == {*keys, "not_recorded"}
    assert (output["status"], output["output"]) == ("ok", {"text": "hello Pip"})
    assert str(recorded) in output["not_recorded"]
    one_error(result, 5, "damaged")


def test_a_flow_that_fails_and_cannot_be_recorded_is_first_of_all_a_flow_that_fails(
    pf: RunCommand, add_flow: AddFlow, recorded: Path
) -> None:
    target = add_flow("fails", FAILS)
    damage(recorded, "traces_started")

    result = pf("run", target, "--input", "1")

    one_error(result, 1, "LookupError: no such fish", "the run was not recorded", "damaged")
    assert "pf inspect" not in result.stderr


FAILS = """
    from penguiflow import Node, create

    async def step(message: int, ctx):
        raise LookupError("no such fish")

    flow = create(Node(step, name="step").to())
"""


def one_error(result: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """One message on stderr, whatever stands on stdout."""
    assert result.returncode == code, result.stderr
    assert result.stderr.count("pf: ") == 1
    for words in said:
        assert result.stderr.count(words) == 1, result.stderr


COMMANDS = {
    "run": ["run", "flows/greet.py", "--input", '{"name": "Pip"}'],
    "traces": ["traces"],
    "inspect": ["inspect", "last"],
    "tui": ["tui", "--screenshot", "screen.svg"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("harm", ["middle", "half", "text", "folder", "home", "newer"])
def test_a_store_that_is_no_store(pf: RunCommand, recorded: Path, project: Path, command: str, harm: str) -> None:
    code, words = 5, str(recorded)
    if harm == "middle":
        damage(recorded)
    elif harm == "half":
        os.truncate(recorded, recorded.stat().st_size // 2)
    elif harm == "text":
        recorded.write_text("my notes\n" * 100)
    elif harm == "newer":
        code, words = 2, "newer penguiflow"
        connection = sqlite3.connect(recorded)
        connection.execute("PRAGMA user_version = 999")
        connection.close()
    else:
        recorded.unlink()
        if harm == "folder":
            words = f"{recorded} is a folder, and no database: move it aside"
            recorded.mkdir()
        else:
            words = f"{recorded.parent} is a file, and no folder that could hold state.db: move it aside"
            recorded.parent.rmdir()
            recorded.parent.write_text("not a folder")

    one_message(pf(*COMMANDS[command]), code, words)
    assert not (project / "screen.svg").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root can be bound by permissions on Linux only")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_without_permission(recorded: Path, project: Path, command: str) -> None:
    recorded.chmod(0)
    result = subprocess.run(
        [sys.executable, "-m", "playground", *COMMANDS[command]],
        cwd=project,
        stdin=subprocess.DEVNULL,
        preexec_fn=obey_permissions,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    one_message(result, 5, str(recorded), "permissions")


def test_an_empty_file_becomes_a_database(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    target = add_flow("greet")
    database = project / ".penguiflow" / "state.db"
    database.parent.mkdir()
    database.touch()

    assert pf("traces").returncode == 0
    one_message(pf("inspect", "last"), 3, "no trace is recorded")
    record_run(pf, target, "one")
    assert pf("inspect", "one").returncode == 0


@pytest.mark.parametrize("target", ["nosuch", "nosuch.deeper", "flows/empty.py", "flows/broken.py"])
def test_nothing_is_left_behind_where_nothing_runs(
    pf: RunCommand, add_flow: AddFlow, project: Path, target: str
) -> None:
    add_flow("empty", "VALUE = 1\n")
    add_flow("broken", "x = (\n")
    before = sorted(project.iterdir())

    code = 3 if target.startswith("nosuch") else 2
    one_message(pf("run", target, "--input", "1"), code, target.removeprefix("flows/"))
    assert sorted(project.iterdir()) == before


@pytest.mark.parametrize("module", ["typer", "websockets"])
def test_a_base_install_names_the_extra(module: str, project: Path) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; from playground.__main__ import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", program, "run", "json", "--no-store"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    one_message(result, 2, f"{module} is missing", 'pip install "penguiflow[playground]"')
