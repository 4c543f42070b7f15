"""`pf prune`: what goes, what stays, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penguiflow.state import SQLiteStateStore
from playground.__main__ import main


def pf(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def age(project: Path, trace_id: str, seconds: float) -> None:
    with closing(sqlite3.connect(project / ".penguiflow" / "state.db", isolation_level=None)) as connection:
        connection.execute(
            "UPDATE traces SET started = started - ?1, updated = updated - ?1 WHERE trace_id = ?2", (seconds, trace_id)
        )


async def traces(project: Path) -> list[str]:
    store = SQLiteStateStore(project / ".penguiflow" / "state.db", read_only=True)
    found = [trace.trace_id for trace in await store.find_traces()]
    await store.close()
    return found


def test_old_runs_go_and_others_stay(project: Path, write_trace: Any, capsys: pytest.CaptureFixture[str]) -> None:

    for name in ("old", "new", "newer"):
        asyncio.run(write_trace(name))
    age(project, "old", 8 * 86400)
    code, out, err = pf(capsys, "prune", "--older-than", "7d", "--dry-run")
    assert (code, out, err) == (0, "would remove 1 trace (5 events)\n", "")
    assert asyncio.run(traces(project)) == ["newer", "new", "old"]
    code, out, _ = pf(capsys, "prune", "--older-than", "7d")
    assert code == 0
    assert out.startswith("removed 1 trace (5 events); the store has ")
    assert asyncio.run(traces(project)) == ["newer", "new"]
    code, out, _ = pf(capsys, "prune", "--keep", "1", "--json")
    told = json.loads(out)
    assert (told["schema"], told["dry_run"], told["traces"], told["events"]) == (1, False, 1, 5)
    assert asyncio.run(traces(project)) == ["newer"]
    assert pf(capsys, "prune", "--older-than", "1h")[1].startswith("nothing to remove; ")


def test_space_comes_back(project: Path, write_trace: Any, capsys: pytest.CaptureFixture[str]) -> None:

    for number in range(4):
        asyncio.run(write_trace(f"t{number}", nodes=3000))
    code, out, _ = pf(capsys, "prune", "--max-size", "1MB", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["size_before"] > 2_000_000 > 1_000_000 >= told["size_after"]
    size = sum(file.stat().st_size for file in (project / ".penguiflow").iterdir())
    assert size <= 1_100_000
    left = asyncio.run(traces(project))
    assert left == [f"t{number}" for number in (3, 2, 1, 0)][: len(left)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say what to remove"),
        (("--older-than", "soon"), "no length of time"),
        (("--older-than", "-3d"), "no length of time"),
        (("--max-size", "big"), "no size"),
        (("--max-size", "5 parsecs"), "no size"),
        (("--keep", "-1"), "negative"),
        (("--keep", "x"), "keep"),
    ],
)
def test_what_makes_no_sense_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    code, out, err = pf(capsys, "prune", *arguments)
    assert (code, out) == (2, "")
    assert told in err


def test_without_a_store_there_is_nothing_to_do(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = pf(capsys, "prune", "--keep", "0")
    assert (code, out) == (0, "nothing to remove; the store has 0 bytes\n")
    assert [path.name for path in project.iterdir()] == ["pyproject.toml"]


def test_a_damaged_store_is_left_as_it_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / ".penguiflow" / "state.db"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    code, out, err = pf(capsys, "prune", "--keep", "0")
    assert (code, out) == (5, "")
    assert str(path) in err
    assert path.read_bytes() == b"no database" * 1000
