"""What the commands ask of git."""

from __future__ import annotations

import os
from pathlib import Path

from peagen.plugins.errors import masked
from peagen.plugins.vcs.git_command import GitCommand

__all__ = ["commit_all", "git", "git_says", "masked"]


def git(*arguments: str, cwd: Path | None = None) -> str:
    """What git says.

    Raises:
        GitError: it failed, with what it said; or there is no git.
    """
    return GitCommand(cwd or Path.cwd()).text(*arguments)


def git_says(*arguments: str, cwd: Path | None = None) -> str | None:
    """What git says; None if it failed, which may be an answer, too."""
    return GitCommand(cwd or Path.cwd()).says(*arguments)


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
