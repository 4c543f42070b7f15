"""The `git` command for one folder: bytes in and out, secrets in the environment only, never a shell or a question."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from peagen.errors import GitError
from peagen.plugins.errors import masked

PROTOCOLS = "file:git:http:https:ssh"
"""What addresses may begin with; others run programs."""
_USER = "x-access-token"


class GitCommand:
    """Runs git in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, input: bytes = b"", environ: Mapping[str, str] | None = None) -> bytes:
        """What it says. Raises `GitError` when it fails, or there is no git."""
        done = self.attempt(*arguments, input=input, environ=environ)
        if done.returncode:
            said = masked(" ".join((done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace").split()))
            shown = next((each for each in arguments if each[0] != "-" and "=" not in each), "")
            raise GitError(f"git {shown} failed: {said or f'code {done.returncode}'}", where=str(self.folder))
        return done.stdout

    def text(self, *arguments: str) -> str:
        """What it says, without the space around it."""
        return self.run(*arguments).decode("utf-8", "replace").strip()

    def says(self, *arguments: str) -> str | None:
        """The same; None where it fails, which may be an answer, too."""
        done = self.attempt(*arguments)
        return None if done.returncode else done.stdout.decode("utf-8", "replace").strip()

    def attempt(
        self, *arguments: str, input: bytes = b"", environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """What became of it."""
        fixed = {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": PROTOCOLS,
            "GIT_LITERAL_PATHSPECS": "1",
            "LC_ALL": "C",
        }
        try:
            return subprocess.run(  # noqa: S603 - a list of arguments, and names are checked by their callers
                ["git", *arguments],  # noqa: S607 - whichever git the user has
                cwd=self.folder,
                env={**os.environ, **fixed, **(environ or {})},
                input=input,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise GitError(f"there is no folder {self.folder}") from None
            raise GitError("there is no git command", hint="install git, and see that it is on PATH") from None
        except NotADirectoryError:
            raise GitError(f"{self.folder} is no folder") from None


def with_token(url: str, token: str | None) -> dict[str, str]:
    """The environment in which git shows a token to a server over http, and to no other."""
    if not token or not url.startswith(("https://", "http://")):
        return {}
    login = base64.b64encode(f"{_USER}:{token}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{url}.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {login}",
    }
