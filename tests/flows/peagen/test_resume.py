"""Killed at any point and started again: it finishes, and nobody is asked twice for what was answered."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from peagen.core.lock import LOCK_NAME
from peagen.run import ProcessOptions, process
from tests.model_server import ModelServer, Said

PROGRAM = Path(__file__).with_name("killed_runs.py")
DONE_S = 120.0
SET = {
    "ptree.yaml.j2": """
        - {FILE_NAME: note.j2, RENDERED_FILE_NAME: out/note.txt, PROJECT_NAME: Demo}
        {% for MOD in PROJ.PKGS[0].MODULES %}
        - FILE_NAME: note.j2
          RENDERED_FILE_NAME: "out/{{ MOD.NAME }}.py"
          PROCESS_TYPE: GENERATE
          AGENT_PROMPT_TEMPLATE: agent.j2
          PROJECT_NAME: Demo
          PACKAGE_NAME: demo
          MODULE_NAME: "{{ MOD.NAME }}"
          EXTRAS: {DEPENDENCIES: {{ MOD.EXTRAS.NEEDS | tojson }} }
        {% endfor %}
        """,
    "note.j2": "{{ [1, 2, 3, 4, 5, 6, 7, 8, 9] | random }} of {{ PROJ.NAME }}\n",
    "agent.j2": "Write {{ MOD.NAME }}\n{% for each in FILE.EXTRAS.DEPENDENCIES %}{% include each %}\n{% endfor %}",
}


@pytest.mark.parametrize("seed", range(4))
async def test_killed_at_any_point(seed: int, worktree_root: Path, make_set: Any) -> None:
    make_set("small", SET)

    child = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(worktree_root), str(seed), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(DONE_S):
            _, said = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()

    lines = [line.split() for line in (worktree_root.parent / "story.txt").read_text().splitlines()]
    assert child.returncode == 0, said.decode() + "\n".join(" ".join(line) for line in lines)
    assert any(line[0] == "killed" for line in lines)
    answered: Counter[str] = Counter()
    for what, *about in lines:
        if what == "answered":
            answered[about[0]] += 1
        elif what == "asked":
            assert about[0] not in answered, f"{about[0]} was asked for again"
    # It may have been killed when an answer was kept, and not yet told of here.
    assert set(answered.values()) == {1}

    for name in "abcdef":
        assert (worktree_root / f"out/{name}.py").read_text() == f"# {name}\nname = {name!r}\n"
    assert (worktree_root / "out/note.txt").read_text().endswith(" of Demo")
    left = [path for path in (worktree_root / "out").iterdir() if path.suffix not in {".py", ".txt"}]
    assert left == []
    assert len((worktree_root / LOCK_NAME).read_text().splitlines()) == 2 + 7


async def test_the_command_is_killed_while_a_model_answers(
    worktree_root: Path, make_set: Any, openai_server: ModelServer
) -> None:
    make_set("small", {**SET, "note.j2": "{{ PROJ.NAME }}\n"})
    modules = [{"NAME": name, "EXTRAS": {"NEEDS": []}} for name in "abcdef"]
    project = {"NAME": "Demo", "TEMPLATE_SET": "small", "PACKAGES": [{"NAME": "demo", "MODULES": modules}]}
    (worktree_root / "p.yaml").write_text(json.dumps({"PROJECTS": [project]}))
    command = [str(Path(sys.executable).with_name("peagen")), "local", "process", "p.yaml", "--repo", "."]
    command += ["--provider", "openai", "--model-name", "local-1"]
    environ = {**os.environ, "OPENAI_BASE_URL": openai_server.url, "OPENAI_API_KEY": "k"}
    openai_server.say("# one", "# two", "# three", Said(text="# never", hold=asyncio.Event()))
    openai_server.otherwise = "# later"

    async def started() -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*command, cwd=worktree_root, env=environ, stdout=pipe, stderr=pipe)

    child = await started()
    try:
        async with asyncio.timeout(DONE_S):
            await openai_server.waiting.wait()
    finally:
        child.kill()
        await child.communicate()
    # One after the other: what came before the one that was asked last was answered, and is there.
    child = await started()
    try:
        async with asyncio.timeout(DONE_S):
            _, said = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()

    assert child.returncode == 0, said.decode()
    asked = Counter(each.body["messages"][-1]["content"].split()[1] for each in openai_server.asked)
    assert asked == {"a": 1, "b": 1, "c": 1, "d": 2, "e": 1, "f": 1}
    made = [(worktree_root / f"out/{name}.py").read_text() for name in "abcdef"]
    assert made == ["# one", "# two", "# three", "# later", "# later", "# later"]


async def test_who_runs_next_finds_nothing_to_do(worktree_root: Path, make_set: Any) -> None:
    """Even a template that makes something else each time is not rendered again."""
    make_set("small", SET)
    project = {"NAME": "Demo", "TEMPLATE_SET": "small", "PACKAGES": [{"NAME": "demo", "MODULES": []}]}
    options = ProcessOptions(worktree=worktree_root)
    assert (await process([project], options)).counts == {"created": 1}
    for _ in range(5):
        assert (await process([project], options)).counts == {"unchanged": 1}
