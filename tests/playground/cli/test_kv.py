"""`pf kv`: what tools keep is listed, shown and changed, and not changed behind somebody's back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from penguiflow.artifacts import NoOpArtifactStore
from penguiflow.sessions.session_kv import SessionKVFacade
from penguiflow.state.sqlite import SQLiteStateStore
from playground.__main__ import main
from playground.cli.kv import KvOutput, ValuesOutput

SECRET = "s3cr3t-of-a-shop"


def pf(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def kv(store: Any, session: str) -> SessionKVFacade:
    owner = {"tenant_id": "acme", "user_id": "ada", "session_id": session, "task_id": "job"}
    return SessionKVFacade(state_store=store, artifacts=NoOpArtifactStore(), tool_context=owner)


def values(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    code, out, err = pf(capsys, "kv", "list", *arguments, "--json")
    assert (code, err) == (0, "")
    return TypeAdapter(ValuesOutput).validate_json(out).values


def value(capsys: pytest.CaptureFixture[str], *arguments: str) -> KvOutput:
    code, out, err = pf(capsys, "kv", "get", *arguments, "--json")
    assert (code, err) == (0, "")
    return TypeAdapter(KvOutput).validate_json(out)


def kept(project: Path, session: str, key: str, **where: Any) -> Any:
    """As tools read it."""

    async def read() -> Any:
        store = SQLiteStateStore(project / ".penguiflow" / "state.db")
        try:
            return await kv(store, session).get(key, **where)
        finally:
            await store.close()

    return asyncio.run(read())


@pytest.fixture
def filled(project: Path) -> Path:
    """Two sessions whose tools have kept something."""

    async def fill() -> None:
        store = SQLiteStateStore(project / ".penguiflow" / "state.db")
        first, second = kv(store, "first"), kv(store, "second")
        await first.set("prefs", {"theme": "dark", "sizes": [1, 2]}, namespace="shop")
        await first.set("login", {"user": "Ada\x1b[31m", "password": SECRET})
        await first.set("seat", 7, scope="task")
        await second.set("note", "hello")
        await store.close()

    asyncio.run(fill())
    return project


@pytest.mark.usefixtures("filled")
def test_what_is_kept_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = pf(capsys, "kv")
    assert code == 0
    assert out.splitlines()[0].split() == ["SESSION", "TASK", "NAMESPACE", "KEY", "CHANGED", "VALUE"]
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["acme:ada:first"] * 3 + ["acme:ada:second"]
    assert '{"theme": "dark", "sizes": [1, 2]}' in out
    found = values(capsys)
    assert [(each.scope, each.task, each.namespace, each.key) for each in found] == [
        ("session", "", "", "login"),
        ("session", "", "shop", "prefs"),
        ("task", "job", "", "seat"),
        ("session", "", "", "note"),
    ]
    assert [each.key for each in values(capsys, "second")] == ["note"]
    assert pf(capsys, "kv", "get", "second", "note")[1] == '"hello"\n'
    assert value(capsys, "first", "prefs", "--namespace", "shop").value == {"theme": "dark", "sizes": [1, 2]}
    seat = value(capsys, "acme:ada:first", "seat", "--task", "job")
    assert (seat.value, seat.scope) == (7, "task")
    assert seat.expires is not None
    assert seat.updated is not None
    assert 3500 < seat.expires - seat.updated <= 3600


@pytest.mark.usefixtures("filled")
def test_no_secret_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["kv"], ["kv", "list", "--json"], ["kv", "get", "first", "login"]):
        code, out, err = pf(capsys, *arguments)
        assert code == 0
        assert SECRET not in out + err
        assert "hmac:" in out
        assert "\x1b" not in out


def test_a_value_is_replaced(capsys: pytest.CaptureFixture[str], filled: Path) -> None:
    before = value(capsys, "second", "note")
    code, out, _ = pf(capsys, "kv", "set", "second", "note", '{"n": 1}', "--etag", str(before.etag), "--json")
    assert (code, json.loads(out)["value"]) == (0, {"n": 1})
    assert kept(filled, "second", "note") == {"n": 1}
    assert pf(capsys, "kv", "set", "second", "note", "only text")[1] == '"only text"\n'
    assert kept(filled, "second", "note") == "only text"
    (filled / "value.json").write_text("[null]")
    assert pf(capsys, "kv", "set", "second", "note", f"@{filled / 'value.json'}")[0] == 0
    assert kept(filled, "second", "note") == [None]


def test_one_place_is_changed_and_secrets_stay(capsys: pytest.CaptureFixture[str], filled: Path) -> None:
    assert pf(capsys, "kv", "set", "first", "login", "--set", "/user=Eve")[0] == 0
    assert kept(filled, "first", "login") == {"user": "Eve", "password": SECRET}
    assert pf(capsys, "kv", "set", "first", "prefs", "-n", "shop", "--set", "/sizes/1=3")[0] == 0
    assert kept(filled, "first", "prefs", namespace="shop") == {"theme": "dark", "sizes": [1, 3]}


def test_it_is_changed_in_an_editor(
    capsys: pytest.CaptureFixture[str], filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "my editor"
    program.write_text(f"""#!/bin/sh\ncp "$1" '{tmp_path}/seen'\nsed -i 's/Ada[^"]*/Eve/' "$1"\n""")
    program.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"'{program}'")
    assert pf(capsys, "kv", "set", "first", "login")[0] == 0
    assert SECRET not in (tmp_path / "seen").read_text()
    assert kept(filled, "first", "login") == {"user": "Eve", "password": SECRET}

    program.write_text('#!/bin/sh\necho "{" > "$1"\n')
    code, out, err = pf(capsys, "kv", "set", "first", "login")
    assert (code, out) == (2, "")
    assert "no JSON: line 2, column 1" in err


def test_a_new_value_and_a_new_session(capsys: pytest.CaptureFixture[str], filled: Path) -> None:
    assert pf(capsys, "kv", "set", "second", "more", "1", "-n", "shop")[0] == 0
    assert kept(filled, "second", "more", namespace="shop") == 1
    assert pf(capsys, "kv", "set", "acme:ada:third", "first", "null")[0] == 0
    assert [each.session for each in values(capsys, "third")] == ["acme:ada:third"]


def test_a_value_is_forgotten(capsys: pytest.CaptureFixture[str], filled: Path) -> None:
    etag = str(value(capsys, "second", "note").etag)
    assert pf(capsys, "kv", "delete", "second", "note", "--etag", etag)[1] == "deleted note of acme:ada:second\n"
    assert kept(filled, "second", "note") is None
    code, out, _ = pf(capsys, "kv", "delete", "first", "seat", "--task", "job", "--json")
    assert (code, json.loads(out)["etag"]) == (0, None)
    assert [each.key for each in values(capsys)] == ["login", "prefs"]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["get", "frist", "note"], 3, "did you mean first?"),
        (["get", "acme", "note"], 3, "several conversations are called acme"),
        (["get", "acme:ada:nobody", "note"], 3, "no tool keeps anything in acme:ada:nobody"),
        (["get", "second", "nothing"], 3, "acme:ada:second has no value nothing"),
        (["get", "first", "prefs"], 3, "it is there with --namespace shop"),
        (["delete", "first", "prefs"], 3, "acme:ada:first has no value prefs"),
        (["set", "second", "note", "1", "--etag", "abc"], 2, "somebody else has changed it"),
        (["set", "second", "other", "1", "--etag", "abc"], 2, "somebody has deleted it"),
        (["delete", "second", "note", "--etag", "abc"], 2, "somebody else has changed it"),
        (["set", "second", "note", "--set", "/a/b=1"], 2, "--set:"),
        (["set", "second", "note", "1", "--set", "/a=1"], 2, "give one of them"),
        (["set", "second", "nothing", "--set", "/a=1"], 3, "has no value nothing"),
        (["set", "second", "", "1"], 2, "a key has at least one character"),
        (["set", "second", "note", "@nowhere.json"], 3, "no such file"),
        (["get", "second"], 2, "missing argument 'KEY'"),
    ],
)
def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    before = values(capsys)
    found = pf(capsys, "kv", *arguments)
    assert found[:2] == (code, ""), found
    assert said in found[2]
    assert values(capsys) == before


def test_where_nothing_is_kept(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    code, out, err = pf(capsys, "kv")
    assert (code, out) == (0, "")
    assert "no tool keeps anything" in err
    assert values(capsys) == []
    assert pf(capsys, "kv", "delete", "a", "b")[0] == 3
    assert not (project / ".penguiflow" / "state.db").exists()
    assert pf(capsys, "kv", "set", "nobody", "a", "1")[0] == 2
