"""`pf memory` and `pf sessions`: what is remembered is shown, changed, and not changed behind somebody's back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from penguiflow.planner.memory.config import ShortTermMemoryConfig
from penguiflow.planner.memory.short_term import DefaultShortTermMemory
from penguiflow.planner.memory.turns import ConversationTurn
from penguiflow.state.sqlite import SQLiteStateStore
from playground.__main__ import main
from playground.cli.memory import MemoriesOutput, MemoryOutput, SessionsOutput


def pf(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def shown(capsys: pytest.CaptureFixture[str], session: str = "first") -> MemoryOutput:
    code, out, err = pf(capsys, "memory", "show", session, "--json")
    assert (code, err) == (0, "")
    return TypeAdapter(MemoryOutput).validate_json(out)


def editor(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """`$EDITOR` is a program that does this to the file."""
    program = folder / "my editor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"'{program}'")


@pytest.fixture
def remembered(project: Path) -> Path:
    """Two conversations in the project's store."""

    async def fill() -> None:
        store = SQLiteStateStore(project / ".penguiflow" / "state.db")
        for key, count in (("acme:ada:first", 2), ("acme:eve:second", 1)):
            memory = DefaultShortTermMemory(config=ShortTermMemoryConfig(strategy="truncation"))
            memory.keep_in(store, key)
            for number in range(count):
                await memory.add_turn(ConversationTurn(f"question {number}\x1b[31m", f"answer {number}"))
            await memory.flush()
        await store.close()

    asyncio.run(fill())
    return project


@pytest.mark.usefixtures("remembered")
def test_what_is_remembered_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = pf(capsys, "memory")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["KEY", "VERSION", "TURNS"],
        ["acme:ada:first", "2", "2"],
        ["acme:eve:second", "1", "1"],
    ]
    told = TypeAdapter(MemoriesOutput).validate_json(pf(capsys, "memory", "list", "--json")[1])
    assert [(each.key, each.turns) for each in told.memories] == [("acme:ada:first", 2), ("acme:eve:second", 1)]
    out = pf(capsys, "memory", "show", "sec")[1]
    assert "user: question 0␛[31m\nanswer: answer 0" in out
    assert [turn["assistant_response"] for turn in shown(capsys).turns] == ["answer 0", "answer 1"]


@pytest.mark.usefixtures("remembered")
def test_it_is_changed_by_flags(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "/summary=in short", "--set", "/turns/1/assistant_response=another answer"]
    code, out, err = pf(capsys, "memory", "edit", "first", *changes, "--version", "2", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["summary"] == "in short"
    now = shown(capsys)
    assert (now.version, now.summary) == (4, "in short")
    assert [turn["assistant_response"] for turn in now.turns] == ["answer 0", "another answer"]
    assert shown(capsys, "second").version == 1


@pytest.mark.usefixtures("remembered")
def test_it_is_changed_in_an_editor(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(
        tmp_path,
        monkeypatch,
        f"""ls -l "$1" > '{tmp_path}/seen'; echo "$1" > '{tmp_path}/name'
sed -i 's/answer 0/answer zero/' "$1" """,
    )
    assert pf(capsys, "memory", "edit", "first")[0] == 0
    assert [turn["assistant_response"] for turn in shown(capsys).turns] == ["answer zero", "answer 1"]
    assert (tmp_path / "seen").read_text().startswith("-rw-------")
    assert not Path((tmp_path / "name").read_text().strip()).exists()

    editor(tmp_path, monkeypatch, """echo '{"summary": "s", "turns": []}' > "$1" """)
    assert pf(capsys, "memory", "edit", "first")[0] == 0
    assert (shown(capsys).summary, shown(capsys).turns) == ("s", [])


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "ended with exit code 3; nothing was changed"),
        ('echo "{" > "$1"', "line 2, column 1"),
        ('echo "[]" > "$1"', "an object with `summary` and `turns`"),
        ("""echo '{"summary": 1, "turns": []}' > "$1" """, "the summary is text"),
        ("""echo '{"summary": "", "turns": [{"a": 1}]}' > "$1" """, "a turn has user_message"),
        ("""sed -i 's/"turn_id": "/"turn_id": "new/' "$1" """, "turns cannot be added"),
        ('rm "$1"', "cannot be read"),
    ],
)
def test_what_an_editor_leaves_is_looked_at(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    editor(tmp_path, monkeypatch, script)
    code, out, err = pf(capsys, "memory", "edit", "first")
    assert (code, out) == (2, "")
    assert said in err
    assert shown(capsys).version == 2


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "frist"], 3, "did you mean first?"),
        (["show", "acme"], 3, "several conversations are called acme"),
        (["edit", "first", "--set", "/summary=x", "--version", "1"], 2, "has version 2, and not 1"),
        (["clear", "first", "--version", "1"], 2, "has version 2, and not 1"),
        (["edit", "first", "--set", "/nothing/x=1"], 2, "there is nothing at /nothing"),
        (["edit", "first", "--set", "/other=1"], 2, "there is no other that could be changed"),
        (["edit", "first", "--set", "summary"], 2, "no PATH=VALUE"),
        (["edit"], 2, "missing argument 'SESSION'"),
    ],
)
def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    found = pf(capsys, "memory", *arguments)
    assert found[:2] == (code, "")
    assert said in found[2]
    assert shown(capsys).version == 2


@pytest.mark.usefixtures("remembered")
def test_a_conversation_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    assert pf(capsys, "memory", "clear", "second") == (0, "forgot acme:eve:second\n", "")
    assert shown(capsys, "second").turns == []
    assert len(shown(capsys).turns) == 2


@pytest.mark.usefixtures("remembered")
def test_sessions_are_listed_with_their_memories(write_trace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(write_trace("one", session="first"))
    asyncio.run(write_trace("two", session="first", error={"type": "E", "message": "m"}))
    asyncio.run(write_trace("three", session="third"))
    told = TypeAdapter(SessionsOutput).validate_json(pf(capsys, "sessions", "--json")[1])
    assert [(each.session, each.runs, each.failed, each.memory) for each in told.sessions] == [
        ("third", 1, 0, None),
        ("first", 2, 1, "acme:ada:first"),
        ("acme:eve:second", 0, 0, "acme:eve:second"),
    ]
    out = pf(capsys, "sessions", "--limit", "1")[1]
    assert [line.split()[0] for line in out.splitlines()] == ["SESSION", "third"]


@pytest.mark.usefixtures("project")
def test_an_empty_project_has_neither(capsys: pytest.CaptureFixture[str]) -> None:
    assert pf(capsys, "memory") == (0, "", "nothing is remembered\n")
    assert pf(capsys, "sessions")[0] == 0
    assert pf(capsys, "memory", "show", "x")[0] == 3
    assert pf(capsys, "memory", "clear", "x")[0] == 3
    assert pf(capsys, "sessions", "--limit", "0")[0] == 2
