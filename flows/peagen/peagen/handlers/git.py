"""The `git` command: arguments in a list, never a shell, never a question on the terminal."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from peagen.errors import GitError

_SECRET = re.compile(r"(?<=://)[^/@\s]+@")


def masked(text: str) -> str:
    """The text without the users and passwords of the URLs in it."""
    return _SECRET.sub("***@", text)


def git(*arguments: str, cwd: Path | None = None) -> str:
    """Run git; returns what it printed, without the last line end.

    Raises:
        GitError: it failed, with what it said; or there is no git.
    """
    done = _run(arguments, cwd)
    if done.returncode:
        said = masked(" ".join((done.stderr.strip() or done.stdout.strip()).split())) or f"code {done.returncode}"
        shown = next((each for each in arguments if not each.startswith("-") and "=" not in each), "")
        raise GitError(f"git {shown} failed: {said}", where=str(cwd or ""))
    return done.stdout.removesuffix("\n")


def git_says(*arguments: str, cwd: Path | None = None) -> str | None:
    """What git printed; None if it failed, which may be an answer, too."""
    done = _run(arguments, cwd)
    return None if done.returncode else done.stdout.removesuffix("\n")


def commit_all(folder: Path, message: str) -> str | None:
    """Commit whatever changed; returns the commit, None where nothing did."""
    git("add", "--all", cwd=folder)
    if git_says("diff", "--cached", "--quiet", cwd=folder) is not None:
        return None
    git(*_identity(folder), "commit", "--quiet", "--no-verify", "--message", message, cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder)


def _identity(folder: Path) -> list[str]:
    known = bool(git_says("config", "user.email", cwd=folder)) or "GIT_COMMITTER_EMAIL" in os.environ
    return [] if known else ["-c", "user.name=Peagen", "-c", "user.email=peagen@example.com"]


def _run(arguments: tuple[str, ...], cwd: Path | None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(  # noqa: S603 - an argument list, and git itself refuses what looks like an option
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        if cwd is not None and not cwd.is_dir():
            raise GitError(f"there is no folder {cwd}") from None
        raise GitError("there is no git command", hint="install git, and see that it is on PATH") from None
