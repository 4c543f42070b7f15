"""Taking over what a template changed into a file that a person changed too."""

from __future__ import annotations

import difflib
import subprocess
import tempfile
from pathlib import Path

from peagen.errors import GitError

NEW_SUFFIX = ".peagen-new"
"""Of the file that is laid beside one that could not be merged."""


def merge(mine: bytes, base: bytes, theirs: bytes) -> bytes | None:
    """Both changes in one text, None where they touch the same lines. Raises `GitError` where git is not there.

    Args:
        mine: the file as a person left it.
        base: as it was generated before.
        theirs: as it is generated now.
    """
    if b"\0" in mine or b"\0" in base or b"\0" in theirs:
        return None
    with tempfile.TemporaryDirectory(prefix="peagen-merge-") as folder:
        paths = [Path(folder, name) for name in ("mine", "base", "theirs")]
        for path, content in zip(paths, (mine, base, theirs), strict=True):
            path.write_bytes(content)
        try:
            done = subprocess.run(  # noqa: S603
                ["git", "merge-file", "-p", "-q", *map(str, paths)],  # noqa: S607
                capture_output=True,
                check=False,
                cwd=folder,
            )
        except FileNotFoundError as error:
            raise GitError(
                "git is not there", hint="Install git: it merges what you and a template changed."
            ) from error
    # It returns the number of conflicts, and what is negative (255) for an error.
    return done.stdout if done.returncode == 0 else None


def unified(name: str, before: bytes | None, after: bytes) -> str:
    """What changes, as `git diff` writes it; empty where nothing does."""
    if before == after:
        return ""
    try:
        old, new = (before or b"").decode(), after.decode()
    except UnicodeDecodeError:
        return f"Binary files a/{name} and b/{name} differ\n"
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        new.splitlines(keepends=True),
        "/dev/null" if before is None else f"a/{name}",
        f"b/{name}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
