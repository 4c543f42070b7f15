from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from flows import digest
from penguiflow import FlowError

if TYPE_CHECKING:
    from tests.conftest import MemoryRecorder
    from tests.flows.conftest import RunFlow

ROOT = Path(__file__).parents[2]


def by_path(report: digest.Report) -> dict[str, digest.Entry]:
    return {entry.path: entry for entry in report.entries}


def shell(command: str, folder: Path) -> str:
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


async def test_it_agrees_with_find_and_wc(run_flow: RunFlow, tmp_path: Path) -> None:
    for package in ("penguiflow", "docs"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))

    report = (await run_flow(digest, {"path": str(tmp_path)})).result

    lines, size = shell("find . -type f -print0 | xargs -0 cat | wc -lc", tmp_path).split()
    paths = shell("find . -type f -printf '%P\n'", tmp_path).splitlines()
    assert (report.files, report.lines, report.bytes) == (len(paths), int(lines), int(size))
    assert [entry.path for entry in report.entries] == sorted(paths)
    assert report.languages["python"] == sum(path.endswith(".py") for path in paths)
    assert sum(report.languages.values()) == report.files
    assert "PenguiFlow" in by_path(report)["penguiflow/core.py"].definitions
    assert by_path(report)["docs/events.md"].definitions[0] == "The event log"


async def test_the_result_adds_up_and_is_whole(run_flow: RunFlow, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class A: ...\n\n\ndef b(): ...\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.md").write_text("# One\n\ntext\n\n## Two")
    (tmp_path / "picture").write_bytes(b"\x89PNG\0\0\n\n\n")

    outcome = await run_flow(digest, {"path": str(tmp_path)})

    assert outcome.result.model_dump() == {
        "files": 3,
        "bytes": 28 + 19 + 9,
        "lines": 4 + 5,
        "languages": {"binary": 1, "markdown": 1, "python": 1},
        "entries": [
            {"path": "a.py", "bytes": 28, "lines": 4, "language": "python", "definitions": ["A", "b"]},
            {"path": "picture", "bytes": 9, "lines": 0, "language": "binary", "definitions": []},
            {"path": "sub/c.md", "bytes": 19, "lines": 5, "language": "markdown", "definitions": ["One", "Two"]},
        ],
    }
    assert outcome.text == (
        f"# Digest of `{tmp_path}`\n\n3 files, 9 lines, 56 bytes.\n\n"
        "| language | files |\n| --- | ---: |\n| binary | 1 |\n| markdown | 1 |\n| python | 1 |\n\n"
        "## Files\n\n- `a.py` (python, 4 lines): `A`, `b`\n- `picture` (binary, 9 bytes)\n"
        "- `sub/c.md` (markdown, 5 lines): `One`, `Two`\n"
    )
    assert [chunk.done for chunk in outcome.chunks].count(True) == 1
    assert outcome.chunks[-1].done


async def test_an_empty_directory_is_a_report_too(run_flow: RunFlow, tmp_path: Path) -> None:
    outcome = await run_flow(digest, {"path": str(tmp_path)})

    assert outcome.result == digest.Report(files=0, bytes=0, lines=0, languages={}, entries=[])
    assert outcome.text == f"# Digest of `{tmp_path}`\n\n0 files, 0 lines, 0 bytes.\n"


async def test_a_relative_path_is_relative_to_where_the_run_was_started(
    run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.txt").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    for path in ("here", "./here/", "~/here"):
        assert [entry.path for entry in (await run_flow(digest, {"path": path})).result.entries] == ["a.txt"]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("missing", "FileNotFoundError", "no such directory: 'missing'"),
        ("file.txt", "NotADirectoryError", "'file.txt' is a file; give the directory"),
        ("nul\0byte", "FileNotFoundError", "no such directory"),
    ],
)
async def test_a_path_that_is_no_directory_is_one_clear_error(
    run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, error: str, message: str
) -> None:
    (tmp_path / "file.txt").write_text("")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(FlowError, match=message) as caught:
        await run_flow(digest, {"path": path})

    assert (caught.value.node_name, caught.value.exception_type) == ("walk", error)


async def test_an_empty_path_names_the_field(run_flow: RunFlow) -> None:
    with pytest.raises(FlowError, match="at least 1 character"):
        await run_flow(digest, {"path": ""})


async def test_links_are_not_followed_and_are_named(run_flow: RunFlow, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret\n")
    (tree / "a.txt").write_text("a\n")
    (tree / "b.txt").write_text("b\n")
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "out").symlink_to(tmp_path / "outside")
    (tree / "out.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (tree / "broken").symlink_to("nowhere")

    outcome = await run_flow(digest, {"path": str(tree)})

    assert [entry.path for entry in outcome.result.entries] == ["a.txt", "b.txt"]
    left_out = ("broken", "out.txt", "out", "sub/loop")
    assert outcome.text.endswith("## Left out\n\n" + "".join(f"- `{name}`: link, not followed\n" for name in left_out))


async def test_a_link_to_a_directory_may_be_the_root(run_flow: RunFlow, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.txt").write_text("a\n")
    (tmp_path / "link").symlink_to("tree")

    assert (await run_flow(digest, {"path": str(tmp_path / "link")})).result.files == 1


async def test_special_files_are_named_and_not_opened(run_flow: RunFlow, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        outcome = await run_flow(digest, {"path": str(tmp_path)})

    assert outcome.result.files == 0
    assert "- `pipe`: special file\n- `socket`: special file\n" in outcome.text


async def test_folders_of_tools_are_passed_over(run_flow: RunFlow, tmp_path: Path) -> None:
    for folder in (".git", "src/__pycache__", "node_modules/x", ".venv/lib", ".penguiflow"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file.py").write_text("x = 1\n")
    for folder, marker in (("environment", "pyvenv.cfg"), ("target", "CACHEDIR.TAG")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / marker).write_text("")
        (tmp_path / folder / "file.py").write_text("x = 1\n")
    (tmp_path / "src" / "venv.py").write_text("x = 1\n")
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "ci.yml").write_text("on: push\n")

    report = (await run_flow(digest, {"path": str(tmp_path)})).result

    assert list(by_path(report)) == [".github/ci.yml", "src/venv.py"]


async def test_the_root_is_looked_into_whatever_its_name(run_flow: RunFlow, tmp_path: Path) -> None:
    root = tmp_path / "node_modules"
    root.mkdir()
    (root / "pyvenv.cfg").write_text("home = /usr/bin\n")

    assert (await run_flow(digest, {"path": str(root)})).result.files == 1


async def test_names_that_are_no_utf8_are_shown_safely(
    run_flow: RunFlow, tmp_path: Path, recorder: MemoryRecorder
) -> None:
    folder = os.fsencode(tmp_path) + b"/f\xffolder"
    os.mkdir(folder)  # noqa: PTH102 (a path of bytes)
    with open(folder + b"/caf\xe9.py", "wb") as file:  # noqa: PTH123, ASYNC230 (a path of bytes)
        file.write(b"def eat(): ...\n")
    (tmp_path / "snow ☃ man.md").write_text("# ☃\n")
    (tmp_path / "new\nline|`tick`.txt").write_text("x\n")

    outcome = await run_flow(digest, {"path": str(tmp_path)}, recorder=recorder)

    entries = by_path(outcome.result)
    assert list(entries) == ["f\\xffolder/caf\\xe9.py", "new\nline|`tick`.txt", "snow ☃ man.md"]
    assert entries["f\\xffolder/caf\\xe9.py"].definitions == ["eat"]
    assert "- `` new\\nline|`tick`.txt `` (text, 1 line)\n" in outcome.text
    outcome.result.model_dump_json()
    outcome.text.encode()


async def test_texts_that_are_no_utf8_are_texts(run_flow: RunFlow, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("één\ntwée\n".encode("latin-1"))
    (tmp_path / "wide.py").write_text("def f(): ...\n\n", encoding="utf-16")
    (tmp_path / "marked.md").write_text("# Title\r\n", encoding="utf-8-sig")

    entries = by_path((await run_flow(digest, {"path": str(tmp_path)})).result)

    assert (entries["latin.txt"].language, entries["latin.txt"].lines) == ("text", 2)
    assert (entries["wide.py"].lines, entries["wide.py"].definitions) == (2, ["f"])
    assert entries["wide.py"].bytes == 2 + 2 * len("def f(): ...\n\n")
    assert entries["marked.md"].definitions == ["Title"]


async def test_a_file_that_cannot_be_read_is_an_entry(
    run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("12345")
    (tmp_path / "plain.txt").write_text("x\n")
    real_open = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        # The permissions of a file do not stop the superuser, who may run this test.
        if str(path).endswith("secret.txt"):
            raise PermissionError(13, "Permission denied")
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)

    report = (await run_flow(digest, {"path": str(tmp_path)})).result

    assert by_path(report)["secret.txt"].model_dump(exclude={"path"}) == {
        "bytes": 5,
        "lines": 0,
        "language": "unreadable",
        "definitions": [],
    }
    assert report.files == 2


async def test_a_folder_that_cannot_be_read_is_named(
    run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("a\n")
    real_scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    outcome = await run_flow(digest, {"path": str(tmp_path)})

    assert outcome.result.files == 1
    assert "- `closed`: folder cannot be read (Permission denied)\n" in outcome.text


async def test_files_that_vanish_or_change_their_kind_are_named(
    run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone.txt", "link.txt", "pipe.txt", "folder.txt", "stays.txt"):
        (tmp_path / name).write_text("x\n")
    find_files = digest.find_files

    def find_and_change(root: str) -> tuple[list[str], list[str]]:
        found = find_files(root)
        for name in ("gone.txt", "link.txt", "pipe.txt", "folder.txt"):
            (tmp_path / name).unlink()
        (tmp_path / "link.txt").symlink_to("stays.txt")
        os.mkfifo(tmp_path / "pipe.txt")
        (tmp_path / "folder.txt").mkdir()
        return found

    monkeypatch.setattr(digest, "find_files", find_and_change)

    outcome = await run_flow(digest, {"path": str(tmp_path)})

    assert [entry.path for entry in outcome.result.entries] == ["stays.txt"]
    for name in ("gone.txt", "link.txt", "pipe.txt", "folder.txt"):
        assert f"- `{name}`: vanished before it was read\n" in outcome.text


async def test_many_files_are_read_eight_at_a_time_and_reported_in_order(
    run_flow: RunFlow, tmp_path: Path, recorder: MemoryRecorder
) -> None:
    for number in range(1200):
        folder = tmp_path / f"d{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number:04}.py").write_text("x = 1\n" * (number % 5))

    outcome = await run_flow(digest, {"path": str(tmp_path)}, recorder=recorder)

    report = outcome.result
    assert (report.files, report.lines) == (1200, sum(number % 5 for number in range(1200)))
    assert [entry.path for entry in report.entries] == sorted(entry.path for entry in report.entries)
    assert "… and 1,000 more; the result holds all of them.\n" in outcome.text
    assert len(outcome.chunks) < 20

    at_once = most = 0
    for event in recorder.only().of_kind("attempt.start", "attempt.end"):
        if event.name == "summarize":
            at_once += 1 if event.kind == "attempt.start" else -1
            most = max(most, at_once)
    assert most == 8


async def test_two_runs_at_the_same_time_do_not_mix_and_give_the_same_each_time(
    run_flow: RunFlow, tmp_path: Path
) -> None:
    import asyncio

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(50):
            (tmp_path / name / f"{name}{number}.txt").write_text(f"{number}\n" * number)

    first, second, again = await asyncio.gather(
        *(run_flow(digest, {"path": str(tmp_path / name)}) for name in ("one", "two", "one"))
    )

    assert all(entry.path.startswith("one") for entry in first.result.entries)
    assert all(entry.path.startswith("two") for entry in second.result.entries)
    assert (first.result, first.text) == (again.result, again.text)


async def test_the_samples_are_folders_of_this_project(
    run_flow: RunFlow, samples: Callable[[ModuleType], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for sample in samples(digest):
        assert (await run_flow(digest, sample)).result.files > 0
