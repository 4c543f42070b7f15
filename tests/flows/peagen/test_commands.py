"""`peagen` as a user starts it: processes with their streams, exit codes and signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer

HANG_S = 60.0
PAYLOAD = """\
PROJECTS:
  - {NAME: Good, TEMPLATE_SET: tiny, PACKAGES: [{NAME: p}]}
  - {NAME: Bad, TEMPLATE_SET: gone, PACKAGES: [{NAME: p}]}
"""
PTREE = """\
FILES:
  - {FILE_NAME: a.j2, RENDERED_FILE_NAME: a.txt}
  - {FILE_NAME: a.j2, RENDERED_FILE_NAME: b.txt, PROCESS_TYPE: GENERATE, AGENT_PROMPT_TEMPLATE: a.j2}
"""
PROCESS = ("local", "process", "projects.yaml", "--project-name", "Good")
ONE = '{"provider": "scripted"}'


@pytest.fixture
def folder(own_home: Path, tmp_path: Path, write_files: Any) -> Path:
    here = tmp_path / "here"
    write_files(
        here,
        {"projects.yaml": PAYLOAD, "tiny/ptree.yaml.j2": PTREE, "tiny/a.j2": "a", "my.j2": "Write b."},
    )
    return here


@contextlib.contextmanager
def started(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone afterwards, whatever happens."""
    with subprocess.Popen(arguments, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "peagen", *arguments]


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S * 2,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (*PROCESS, "--repo", "{here}", "--agent-env", ONE, "-v"),
        (*PROCESS, "--repo", "{here}", "--agent-env", ONE, "-vv"),
        ("local", "-v", *PROCESS[1:], "--provider", "scripted"),
        (*PROCESS, "--provider", "scripted", "--model-name", "any", "--transitive", "--start-file", "a.txt", "-v"),
        (*PROCESS, "--agent-env", ONE, "--agent-prompt-template-file", "./my.j2", "--workers", "2"),
        (*PROCESS, "--agent-env", ONE, "--artifacts", "file://{here}/copies", "--output-base", "."),
    ],
)
def test_results_are_on_stdout_and_everything_else_on_stderr(folder: Path, arguments: tuple[str, ...]) -> None:
    done = run(folder, *(each.replace("{here}", str(folder)) for each in arguments))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {record["RENDERED_FILE_NAME"] for record in result["processed"]["Good"]} >= {"a.txt"}
    assert "a.txt" in done.stderr or not {"-v", "-vv"}.intersection(arguments)
    assert (folder / "a.txt").read_text() == "a"
    if "--artifacts" in arguments:
        assert any(path.name == "a.txt" for path in (folder / "copies").rglob("*"))


def test_a_project_that_fails_does_not_keep_the_others_from_it(folder: Path) -> None:
    done = run(folder, "local", "sort", "projects.yaml")
    assert (done.returncode, done.stdout) == (1, "Project Good:\n  0) a.txt\n  1) b.txt\n")
    assert done.stderr.startswith("[ERROR] Bad: Template-set 'gone' not found")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((*PROCESS, "--agent-env", "{"), 2, "--agent-env"),
        ((*PROCESS, "--agent-env", "[]"), 2, "it must be an object"),
        ((*PROCESS, "--workers", "-1"), 2, "--workers"),
        (PROCESS, 1, "no provider of models is named"),
        ((*PROCESS, "--provider", "nobody", "--model-name", "m"), 1, "nobody"),
        ((*PROCESS, "--provider", "scripted", "--notify", "magic://x"), 1, "magic"),
        ((*PROCESS, "--provider", "scripted", "--artifacts", "magic://x"), 1, "magic"),
        ((*PROCESS, "--provider", "scripted", "--agent-prompt-template-file", "gone.j2"), 1, "gone.j2"),
        (("local", "process", "gone.yaml"), 1, "there is no file 'gone.yaml'"),
        (("local", "process", "projects.yaml", "--project-name", "Gone"), 1, "Gone"),
        (("remote", "sort", "projects.yaml", "--repo", "x", "--watch"), 2, "not in this version"),
        (("--nonsense",), 2, "No such option"),
    ],
)
def test_exit_codes(folder: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = run(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_model_that_is_interrupted(folder: Path, openai_server: ModelServer) -> None:
    openai_server.otherwise = Said(text="late", hold=asyncio.Event())
    process = await asyncio.create_subprocess_exec(
        *command(*PROCESS, "--agent-env", '{"provider": "openai", "model_name": "gpt-4"}'),
        cwd=folder,
        env={**os.environ, "OPENAI_API_KEY": "key", "OPENAI_BASE_URL": openai_server.url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(HANG_S):
            await openai_server.waiting.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130, err.decode()
    assert out == b""
    assert b"Traceback" not in err
    openai_server.otherwise = "```\nfine\n```"
    async with asyncio.timeout(HANG_S * 2):
        done = await asyncio.to_thread(
            run,
            folder,
            *(*PROCESS, "--provider", "openai", "--model-name", "gpt-4"),
            OPENAI_API_KEY="key",
            OPENAI_BASE_URL=openai_server.url,
        )
    assert done.returncode == 0, done.stderr
    assert (folder / "b.txt").read_text() == "fine\n"
    assert openai_server.asked[-1].headers["authorization"] == "Bearer key"


async def test_a_repository_from_elsewhere_does_not_get_the_key(
    folder: Path, tmp_path: Path, git: Any, openai_server: ModelServer
) -> None:
    openai_server.otherwise = "```\nfine\n```"
    config = '[llm]\ndefault_model_name = "${OPENAI_API_KEY}"\n[llm.openai]\nBase_URL = "http://127.0.0.1:9/v1"\n'
    (folder / ".peagen.toml").write_text(config)
    factors = "LLM_FACTORS: {Base_URL: 'http://127.0.0.1:9/v1', Temperature: 1}"
    project = "{NAME: P, TEMPLATE_SET: tiny, PACKAGES: [{NAME: p}]}"
    point = f"PROJECTS: [{{META: {{design_id: d, {factors}}}, PROJECTS: [{project}]}}]"
    (folder / "point.yaml").write_text(point)
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    arguments = ("local", "process", "point.yaml", "--repo", f"file://{folder}", "--provider", "openai")
    environ = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": openai_server.url}
    async with asyncio.timeout(HANG_S * 4):
        done = await asyncio.to_thread(run, tmp_path, *arguments, "--model-name", "m", **environ)
    assert done.returncode == 0, done.stderr
    assert "llm.openai.Base_URL of the repository's own .peagen.toml is not used" in done.stderr
    (asked,) = openai_server.asked
    assert asked.headers["authorization"] == "Bearer key"
    assert asked.body["temperature"] == 1


def test_a_reader_that_goes_away_is_no_failure(folder: Path) -> None:
    modules = ", ".join(f"{{NAME: m{number}}}" for number in range(3000))
    each = "  - {FILE_NAME: a.j2, RENDERED_FILE_NAME: {{ M.NAME }}}"
    ptree = f"FILES:\n{{%- for M in PROJ.PKGS[0].MODULES %}}\n{each}\n{{%- endfor %}}\n"
    (folder / "tiny" / "ptree.yaml.j2").write_text(ptree)
    (folder / "many.yaml").write_text(
        f"PROJECTS: [{{NAME: P, TEMPLATE_SET: tiny, PACKAGES: [{{NAME: p, MODULES: [{modules}]}}]}}]"
    )
    with started(
        command("local", "sort", "many.yaml"), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"Project P:\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(HANG_S) == 0


def test_names_that_no_terminal_knows(folder: Path) -> None:
    ptree = 'FILES:\n  - {FILE_NAME: a.j2, RENDERED_FILE_NAME: "naïve-\\U0001F427.txt"}\n'
    (folder / "tiny" / "ptree.yaml.j2").write_text(ptree, encoding="utf-8")
    done = run(folder, "local", "sort", "projects.yaml", "--project-name", "Good", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "0) na\\xefve-\\U0001f427.txt\n")


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, False), ("n\n", 1, True), ("\x04", 130, True)])
def test_who_sits_at_a_terminal_is_asked(folder: Path, own_home: Path, answer: str, code: int, left: bool) -> None:
    assert run(folder, "local", "template-set", "add", "tiny").returncode == 0
    master, end = os.openpty()
    with started(
        command("local", "template-set", "remove", "tiny"),
        cwd=own_home,
        stdin=end,
        stdout=end,
        stderr=end,
    ) as process:
        os.close(end)
        said = b""
        while b"Go on?" not in said:
            said += read(master)
        os.write(master, answer.encode())
        while more := read(master):
            said += more
        assert process.wait(HANG_S) == code, said
    os.close(master)
    assert (own_home / ".peagen" / "template_sets" / "tiny").is_dir() == left
    assert b"Traceback" not in said


def read(master: int) -> bytes:
    """What the terminal shows next; nothing once nobody is there to write."""
    ready, _, _ = select.select([master], [], [], HANG_S)
    assert ready, "nothing is shown"
    try:
        return os.read(master, 4096)
    except OSError:
        return b""


def test_version(folder: Path) -> None:
    done = run(folder, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "peagen")


def test_help_loads_little() -> None:
    """What makes `peagen --help` quick: none of what a run needs."""
    heavy = ("pydantic", "jinja2", "yaml", "httpx", "inflect", "jsonschema", "penguiflow", "pydantic_ai", "rich")
    program = (
        "import sys; from peagen.cli import run; run(['--help'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=HANG_S)
    assert (done.returncode, done.stderr) == (0, "[]\n")
