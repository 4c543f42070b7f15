"""`peeragent serve`, `tasks` and `chat` as a user starts them: processes, signals, pipes and a terminal."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer

HANG_S = 60.0
UP_S = 20.0
GOOD = "It began three months ago in the north region, costs $2M a year, and is our top priority"
SQL = {"task": "Write a SQL query to find top 10 customers by revenue"}


def refused(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(each in done.stderr for each in ("peeragent: ", *says)), done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("API_PORT", "abc", "API_PORT"),
        ("API_KEYS", "no-owner", "API_KEYS: must be owner:key"),
        ("API_KEYS", "ada:short", "at least 16 characters"),
        ("RATE_LIMIT_EXECUTE", "often", "10/minute"),
        ("REDIS_URL", "secret-host", "REDIS_URL: must begin with redis://"),
        ("MONGODB_URL", "secret-host", "MONGODB_URL: must begin with mongodb://"),
        ("SEARCH_PROVIDER", "http", "search_url"),
        ("LLM_TEMPERATURE", "9", "LLM_TEMPERATURE"),
        ("ENVIRONMENT", "moon", "ENVIRONMENT"),
    ],
)
def test_settings_are_checked_before_anything_starts(peeragent: Any, variable: str, value: str, says: str) -> None:
    done = peeragent.run("serve", "--port", "0", **{variable: value})
    refused(done, 2, says)
    assert "secret-host" not in done.stderr


def test_a_file_of_settings_counts(peeragent: Any) -> None:
    (peeragent.folder / ".env").write_text("TASK_TIMEOUT=never\n")
    refused(peeragent.run("worker"), 2, "TASK_TIMEOUT")
    (peeragent.folder / ".env").write_bytes(b"APP_NAME=\xff\xfe\n")
    refused(peeragent.run("tasks"), 2, ".env")


def test_nobody_else_is_served_without_keys(peeragent: Any) -> None:
    refused(peeragent.run("serve", "--host", "0.0.0.0"), 2, "there are no keys", "API_KEYS")


def test_a_port_that_is_taken(peeragent: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(peeragent.run("serve", "--port", str(port)), 2, f"127.0.0.1:{port}", "--port")


def test_traces_that_cannot_be_kept(peeragent: Any) -> None:
    (peeragent.folder / "file").write_text("")
    refused(peeragent.run("serve", "--port", "0", PENGUIFLOW_HOME="file/inside"), 5, "PENGUIFLOW_HOME")


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",)])
def test_tasks_that_cannot_be_kept(peeragent: Any, command: tuple[str, ...]) -> None:
    (peeragent.folder / "file").write_text("no database, and no folder")
    refused(peeragent.run(*command, DATA_DIR="file/inside"), 5, "file/inside", "DATA_DIR")
    (peeragent.folder / "tasks.db").write_text("no database " * 100)
    refused(peeragent.run(*command, DATA_DIR="."), 5, "tasks.db", "DATA_DIR")


@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_its_address_and_ends_when_told(peeragent: Any, by: signal.Signals, code: int) -> None:
    with peeragent.serving() as (server, url):
        assert httpx.get(f"{url}/ping", timeout=HANG_S).json() == {"pong": True}
        server.process.send_signal(by)
        assert server.process.wait(HANG_S) == code
        assert "Traceback" not in server.rest()


def test_it_is_up_soon(peeragent: Any) -> None:
    """A start takes a second or two. A busy machine is given three chances to show it."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        with peeragent.serving() as (_, url):
            httpx.get(f"{url}/ping", timeout=HANG_S).raise_for_status()
        took.append(time.monotonic() - began)
        if took[-1] < UP_S:
            return
    raise AssertionError(f"it took {took}")


async def test_an_end_ends_what_is_under_way(peeragent: Any, openai_server: ModelServer) -> None:
    openai_server.otherwise = Said(hold=asyncio.Event())
    with peeragent.serving(OPENAI_BASE_URL=openai_server.url, SHUTDOWN_GRACE="0.1") as (server, url):
        async with httpx.AsyncClient(timeout=HANG_S) as client:
            asking = asyncio.create_task(client.post(f"{url}/v1/agent/execute/direct/code", json=SQL))
            async with asyncio.timeout(HANG_S):
                await openai_server.waiting.wait()
                listed: list[Any] = []
                while not listed:
                    listed = (await client.get(f"{url}/v1/agent/tasks")).json()
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, HANG_S) == 0
            await asyncio.gather(asking, return_exceptions=True)
        said = await asyncio.to_thread(server.rest)
        assert "Traceback" not in said
    done = await asyncio.to_thread(peeragent.run, "tasks", listed[0]["task_id"])
    kept = json.loads(done.stdout)
    assert (kept["status"], kept["error"]["code"]) == ("failed", "SHUTDOWN")


async def test_an_end_is_told_to_all_that_waits(peeragent: Any, openai_server: ModelServer) -> None:
    openai_server.otherwise = Said(hold=asyncio.Event())
    with peeragent.serving(OPENAI_BASE_URL=openai_server.url, SHUTDOWN_GRACE="0.5") as (server, url):
        async with httpx.AsyncClient(timeout=HANG_S, base_url=f"{url}/v1/agent") as client:
            inline = asyncio.create_task(client.post("/execute/direct/code", json=SQL))
            stream = asyncio.create_task(client.post("/execute/stream", json=SQL))
            kept = (await client.post("/execute/async", json=SQL)).json()
            async with asyncio.timeout(HANG_S):
                while len(openai_server.asked) < 3:  # noqa: ASYNC110 - another process asks
                    await asyncio.sleep(0.01)
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, HANG_S) == 0
            told = (await asyncio.gather(inline, stream, return_exceptions=True))[0]
            # A machine that stands still may have the connection cut before it is told.
            if isinstance(told, httpx.Response):
                assert (told.status_code, told.json()["detail"]["code"]) == (503, "SHUTDOWN")
            else:
                assert isinstance(told, httpx.HTTPError)
        assert "Traceback" not in await asyncio.to_thread(server.rest)
    # What a worker had is there for another.
    left = json.loads((await asyncio.to_thread(peeragent.run, "tasks", kept["task_id"])).stdout)
    assert left["status"] == "pending"


def test_tasks_are_shown(peeragent: Any) -> None:
    none = peeragent.run("tasks")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no tasks\n")
    with peeragent.serving() as (_, url):
        agent = f"{url}/v1/agent"
        ids = [
            httpx.post(f"{agent}/execute", json={**SQL, "session_id": f"s{number}"}, timeout=HANG_S).json()["task_id"]
            for number in range(2)
        ]
        # It reads beside the service.
        listed = peeragent.run("tasks")
        assert [line.split()[2:4] for line in listed.stdout.splitlines()] == [["completed", each] for each in ids[::-1]]
        assert listed.stdout.count(SQL["task"]) == 2
    told = json.loads(peeragent.run("tasks", "--json", "--session", "s0").stdout)
    assert [each["task_id"] for each in told] == ids[:1]
    assert json.loads(peeragent.run("tasks", ids[1]).stdout)["session_id"] == "s1"
    assert json.loads(peeragent.run("tasks", "--json", "--status", "failed").stdout) == []
    refused(peeragent.run("tasks", "task-none"), 3, "task-none")
    refused(peeragent.run("tasks", "--status", "lost"), 2, "lost", "cancelled")


def test_a_store_that_cannot_be_read(peeragent: Any) -> None:
    (peeragent.folder / "file").write_text("")
    refused(peeragent.run("tasks", DATA_DIR="file/inside"), 5)
    missing = peeragent.folder / "none.sock"
    refused(peeragent.run("tasks", REDIS_URL=f"unix://{missing}"), 5, "Redis")


def test_a_conversation_over_pipes(peeragent: Any) -> None:
    lines = ["Write a Python function that finds primes", "and in Java?", "/agent business", "Our sales dropped 20%"]
    lines += [GOOD, "dunno", GOOD, GOOD]
    with peeragent.serving() as (_, url):
        done = peeragent.run("chat", "--url", url, said="\n".join(lines))
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert said.count("[code_agent]\n") == 2
    assert "def is_prime" in said
    rounds = [line.split()[2] for line in said.splitlines() if "Round" in line]
    assert rounds == ["1/3", "2/3", "2/3", "3/3"]
    assert "urgency_level: " in said
    assert "problem_tree: " in said


async def test_answers_come_as_they_are_written_and_do_nothing_to_the_terminal(
    peeragent: Any, openai_server: ModelServer
) -> None:
    hostile = "first \x1b]0;owned\x07\x1b[2J\x9b31m second\r third"
    hold = asyncio.Event()
    openai_server.otherwise = Said(text=f"```python\n{hostile}\n```", hold=hold, hold_after=6)
    with (
        peeragent.serving(OPENAI_BASE_URL=openai_server.url) as (_, url),
        peeragent.terminal("chat", "--url", url) as terminal,
    ):
        await asyncio.to_thread(terminal.until, "> ")
        terminal.type("Write a Python function\n")
        # The model is not done.
        shown = await asyncio.to_thread(terminal.until, "fir")
        assert "[code_agent]" in shown
        hold.set()
        rest = await asyncio.to_thread(terminal.until, "> ")
        assert "third" in rest
        assert not {"\x1b", "\x07", "\x9b"} & set(shown + rest)
        terminal.type("\x04")
        assert await asyncio.to_thread(terminal.process.wait, HANG_S) == 0


@pytest.mark.parametrize("named", [True, False])
async def test_answers_of_a_named_agent_come_as_they_are_written(
    peeragent: Any, openai_server: ModelServer, named: bool
) -> None:
    hold = asyncio.Event()
    openai_server.otherwise = Said(text="first \u2028second\x85 third, and so on", hold=hold, hold_after=6)
    with (
        peeragent.serving(OPENAI_BASE_URL=openai_server.url) as (_, url),
        peeragent.terminal("chat", "--url", url, *(("--agent", "code") if named else ())) as terminal,
    ):
        await asyncio.to_thread(terminal.until, "> ")
        if not named:
            terminal.type("/agent code\n")
            await asyncio.to_thread(terminal.until, "> ")
        terminal.type("Sales are dropping\n")
        # The model is not done.
        shown = await asyncio.to_thread(terminal.until, "fir")
        assert "[code_agent]" in shown
        hold.set()
        assert "and so on" in await asyncio.to_thread(terminal.until, "> ")
        if not named:
            terminal.type("/agent nobody\n")
            await asyncio.to_thread(terminal.until, "> ")
            terminal.type("Hello\n")
            assert "there is no agent 'nobody'" in await asyncio.to_thread(terminal.until, "> ")
        terminal.type("/quit\n")
        assert await asyncio.to_thread(terminal.process.wait, HANG_S) == 0


def test_all_of_an_answer_is_shown(peeragent: Any) -> None:
    lines = ["Summarize: The council met on Monday. It approved a tram line. Work begins in May.", "/agent problem"]
    with peeragent.serving() as (_, url):
        done = peeragent.run("chat", "--url", url, said="\n".join([*lines, "Costs are rising"]))
    assert done.returncode == 0, done.stderr
    for words in (
        "[summary_agent]",
        "key_points: ",
        "word_count_reduction: ",
        "[problem_structuring_agent]",
        "sub_causes",
    ):
        assert words in done.stdout


def test_a_conversation_in_a_terminal_can_be_left_at_any_time(peeragent: Any) -> None:
    with peeragent.serving() as (_, url), peeragent.terminal("chat", "--url", url) as terminal:
        terminal.until("> ")
        terminal.type("/agent business\n")
        terminal.until("> ")
        terminal.type("Our sales dropped 20%\n")
        assert "Round 1/3" in terminal.until("answer> ")
        terminal.type("\x03")
        assert terminal.process.wait(HANG_S) == 130


def test_a_service_that_goes_away(peeragent: Any) -> None:
    with peeragent.serving() as (server, url), peeragent.terminal("chat", "--url", url) as terminal:
        terminal.until("> ")
        server.process.kill()
        server.process.wait()
        terminal.type("Write a Python function\n")
        terminal.until("peeragent: ")
        assert terminal.process.wait(HANG_S) == 6
    refused(peeragent.run("chat", "--url", url), 6, "does not answer", "peeragent serve")
    refused(peeragent.run("chat", "--url", "nonsense"), 6, "nonsense")


def test_keys_in_a_conversation(peeragent: Any, tmp_path: Path) -> None:
    key = tmp_path / "key"
    with peeragent.serving(API_KEYS=f"ada:{'a' * 20}") as (_, url):
        for wrong in (None, "b" * 20):
            if wrong:
                key.write_text(wrong)
            told = ("--key-file", str(key)) if wrong else ()
            refused(peeragent.run("chat", "--url", url, *told, said="Write a Python function\n"), 2, "--key-file")
        key.write_text("a" * 20 + "\n")
        done = peeragent.run("chat", "--url", url, "--key-file", str(key), said="Write a Python function\n")
        assert done.returncode == 0, done.stderr
        assert "[code_agent]" in done.stdout
    key.write_text("clé")
    refused(peeragent.run("chat", "--key-file", str(key)), 2, "holds no key")
    refused(peeragent.run("chat", "--key-file", str(tmp_path / "none")), 3, "cannot read the key")
