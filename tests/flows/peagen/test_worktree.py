"""Names of files that may be written, and how they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from peagen.core.worktree import Worktree, digest_of
from peagen.errors import PathEscape, WriteFailed

BAD_NAMES = [
    "",
    ".",
    "./",
    "a/",
    "a/.",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    "a\\..\\x",
    "a\0b",
    "a\nb",
    "\ud800",
    ".git/hooks/pre-commit",
    ".GIT/config",
    "sub/.git/config",
    ".g\u200cit/config",
    ".git",
    ".git ",
    ".git./x",
    ".git::$INDEX_ALLOCATION/x",
    "git~1/config",
    ".peagen/lock",
    ".peagen.toml",
    ".Peagen.toml",
    "./.peagen.lock",
    "Peagen.lock",
    "C:/x",
    "c:x",
    "con",
    "a/NUL.txt",
    "com1",
    "a.",
    "a /b",
    "x" * 300,
    "/".join(["abcdefgh"] * 500),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_may_not_be_written(worktree_root: Path, name: str) -> None:
    tree = Worktree(worktree_root)
    with pytest.raises(PathEscape) as raised:
        tree.write(name, "x")
    assert raised.value.message
    assert raised.value.where
    assert list(worktree_root.iterdir()) == []
    assert sorted(worktree_root.parent.iterdir()) == [worktree_root]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "a"),
        ("./a//b/./c.py", "a/b/c.py"),
        (".github/workflows/ci.yml", ".github/workflows/ci.yml"),
        (".gitignore", ".gitignore"),
        ("git", "git"),
        ("..a", "..a"),
        ("ü/日本.txt", "ü/日本.txt"),
        ("a b/c.d", "a b/c.d"),
        ("x" * 220, "x" * 220),
        ("console.py", "console.py"),
    ],
)
def test_names_that_may(worktree_root: Path, name: str, path: str) -> None:
    tree = Worktree(worktree_root)
    assert tree.read(name) is None
    assert tree.write(name, "text\r\n") == worktree_root / path
    assert (worktree_root / path).read_bytes() == b"text\r\n"
    assert tree.read(name) == "text\r\n"
    assert tree.digest(name) == digest_of("text\r\n")


def test_links_may_lead_elsewhere_within_only(worktree_root: Path) -> None:
    outside = worktree_root.parent / "outside"
    outside.mkdir()
    (worktree_root / "real").mkdir()
    (worktree_root / "within").symlink_to("real")
    (worktree_root / "out").symlink_to(outside)
    (worktree_root / "file").symlink_to(outside / "new")
    (worktree_root / "round").symlink_to("round")
    (worktree_root / ".git").mkdir()
    (worktree_root / "hooks").symlink_to(".git")
    tree = Worktree(worktree_root)
    assert tree.write("within/a", "x") == worktree_root / "real" / "a"
    for name in ("out/a", "file", "round/a", "hooks/pre-commit"):
        # Newer versions of Python follow a link that leads to itself as far as it goes.
        with pytest.raises((PathEscape, WriteFailed)):
            tree.write(name, "x")
        with pytest.raises((PathEscape, WriteFailed)):
            tree.read(name)
    assert list(outside.iterdir()) == []


def test_a_template_set_that_is_in_use_is_closed(worktree_root: Path) -> None:
    tree = Worktree(worktree_root, closed=[worktree_root / "sets" / "mine"])
    with pytest.raises(PathEscape, match="template set"):
        tree.write("sets/mine/ptree.yaml.j2", "x")
    tree.write("sets/other.py", "x")


def test_modes_are_kept(worktree_root: Path) -> None:
    tree = Worktree(worktree_root)
    path = tree.write("run.sh", "1")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o750)
    tree.write("run.sh", "2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    tree.write("run.sh", "3", executable=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    tree.write("run.sh", "4", executable=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_a_file_is_whole_or_not_there(worktree_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Worktree(worktree_root)
    tree.write("a", "before")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteFailed, match="No space left"):
        tree.write("a", "after")
    assert [path.name for path in worktree_root.iterdir()] == ["a"]
    assert tree.read("a") == "before"


def test_what_is_in_the_way_is_told(worktree_root: Path) -> None:
    tree = Worktree(worktree_root)
    tree.write("file", "x")
    (worktree_root / "folder").mkdir()
    with pytest.raises(WriteFailed, match="cannot be written"):
        tree.write("file/below", "x")
    with pytest.raises(WriteFailed, match="is no file"):
        tree.write("folder", "x")
    with pytest.raises(WriteFailed, match="is no file"):
        tree.read("folder")
    assert tree.read("file/below") is None
    with pytest.raises(WriteFailed, match="UTF-8"):
        tree.write("odd", "\ud800")
    (worktree_root / "bytes").write_bytes(b"\xff")
    with pytest.raises(WriteFailed, match="not UTF-8"):
        tree.read("bytes")


def test_leftovers_are_swept(worktree_root: Path) -> None:
    tree = Worktree(worktree_root)
    tree.write("a/b", "x")
    leftover = worktree_root / "a" / ".b.1234.peagen-tmp"
    leftover.write_text("half")
    assert tree.sweep(["a/b", "c"]) == [leftover]
    assert [path.name for path in (worktree_root / "a").iterdir()] == ["b"]


def test_removed_with_its_empty_folders(worktree_root: Path) -> None:
    tree = Worktree(worktree_root)
    tree.write("a/b/c", "x")
    tree.write("a/d", "x")
    assert tree.remove("a/b/c")
    assert not tree.remove("a/b/c")
    assert not (worktree_root / "a" / "b").exists()
    assert tree.remove("a/d")
    assert list(worktree_root.iterdir()) == []
