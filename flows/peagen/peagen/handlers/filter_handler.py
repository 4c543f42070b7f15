"""`peagen init filter` and `init repo`: git repositories that keep large files in a storage."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from peagen.errors import GitError, PeagenError
from peagen.handlers.git import commit_all, git, git_says, masked

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SCRIPT = '''\
"""Called by git: {what}. Written by `peagen init filter`; the storage is {shown}."""

import sys

from peagen.plugins.git_filters import {function}

sys.exit({function}({uri!r}))
'''
_PARTS = {
    "clean": "what is read from stdin goes to the storage, its address to the repository",
    "smudge": "what stands behind the address on stdin is written to stdout",
}


def init_filter(
    folder: Path, *, uri: str = "file://peagen_artifacts", name: str = "default", add_config: bool = False
) -> dict[str, Any]:
    """Writes `.git/filters/<name>/{clean,smudge}.py`, tells git of them, and adds to `.gitattributes` what it lacks.

    Args:
        uri: the storage.
        add_config: say so in `.peagen.toml`, too.

    Raises:
        GitError: it is no git repository.
        PeagenError: the name is no name of a filter.
    """
    if not _NAME.fullmatch(name):
        raise PeagenError(f"{name!r} is no name of a filter: letters, digits, - and _ are", where="--name")
    top = git_says("rev-parse", "--show-toplevel", cwd=folder)
    if top is None:
        raise GitError("it is no git repository", where=str(folder), hint="run git init, or peagen init repo")
    root = Path(top)
    folder_of_filter = (root / git("rev-parse", "--git-common-dir", cwd=root) / "filters" / name).resolve()
    folder_of_filter.mkdir(parents=True, exist_ok=True)
    written = []
    for part, what in _PARTS.items():
        script = folder_of_filter / f"{part}.py"
        script.write_text(_SCRIPT.format(what=what, shown=masked(uri), function=part, uri=uri), encoding="utf-8")
        git("config", f"filter.{name}.{part}", shlex.join([sys.executable, str(script)]), cwd=root)
        written.append(str(script))
    git("config", f"filter.{name}.required", "true", cwd=root)
    added = _add_lines(
        root / ".gitattributes",
        [f"workspace/** filter={name} -text", "workspace/artifacts/** -filter"],
    )
    result = {"filter": name, "uri": masked(uri), "scripts": written, "gitattributes": added}
    if add_config:
        result["config"] = _add_config(root / ".peagen.toml", name, uri)
    return result


def init_repo(folder: Path, *, branch: str = "main", remotes: dict[str, str] | None = None) -> dict[str, Any]:
    """A git repository with a first commit; in one that is there already only what is missing is added.

    Raises:
        GitError: git refuses.
    """
    if folder.exists() and not folder.is_dir():
        raise GitError(f"{folder} is no folder")
    folder.mkdir(parents=True, exist_ok=True)
    new = git_says("rev-parse", "--git-dir", cwd=folder) is None
    if new:
        git("init", "--quiet", f"--initial-branch={branch}", cwd=folder)
    ignored = _add_lines(folder / ".gitignore", [".peagen/"])
    for name, url in (remotes or {}).items():
        if git_says("remote", "get-url", name, cwd=folder) is None:
            git("remote", "add", "--", name, url, cwd=folder)
    # What a person has in an older repository is not ours to commit.
    commit = commit_all(folder, "peagen: first commit") if new else None
    return {"path": str(folder), "created": new, "commit": commit, "ignored": ignored, "remotes": sorted(remotes or {})}


def _add_lines(path: Path, lines: list[str]) -> list[str]:
    """Adds the lines that a file lacks; everything else in it stays."""
    text = path.read_text("utf-8") if path.is_file() else ""
    there = {line.strip() for line in text.splitlines()}
    missing = [line for line in lines if line not in there]
    if missing:
        end = "" if not text or text.endswith("\n") else "\n"
        path.write_text(text + end + "\n".join(missing) + "\n", encoding="utf-8")
    return missing


def _add_config(path: Path, name: str, uri: str) -> str:
    """Adds `[storage.filters.<name>]`, and the default where there is none; comments and order stay."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(path.read_text("utf-8") if path.is_file() else "")
    except TOMLKitError as error:
        raise PeagenError(f"it is not TOML: {error}", where=str(path)) from None
    storage = document.setdefault("storage", tomlkit.table())
    storage.setdefault("default_filter", name)
    filters = storage.setdefault("filters", tomlkit.table(is_super_table=True))
    entry = filters.setdefault(name, tomlkit.table())
    entry["uri"] = uri
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
    return str(path)
