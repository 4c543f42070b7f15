"""The two tokens of a host: one for full control, one for those who only look on. They live in files, 0600.

A token is never an argument or in the environment, where every process of the machine could read it. The file is named
by its path, which may be that of an inherited descriptor (`/dev/fd/3`).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Literal, NamedTuple

Role = Literal["control", "view"]

TOKEN_BYTES = 32
MAX_FILE_BYTES = 4096
FOLDER = "hosts"


class TokenProblem(Exception):
    """A token file cannot be used; the text says why, and what to do."""


class Tokens(NamedTuple):
    """What clients have to show."""

    control: str
    view: str | None = None
    """None when there is nobody who only looks on."""

    @classmethod
    def new(cls) -> Tokens:
        """Two that nobody can guess."""
        return cls(secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES))

    @classmethod
    def kept(cls, folder: Path) -> Tokens:
        """Those in `folder`, `control` and `view`; what is missing there is made, and stays. Raises `TokenProblem`."""
        control, view = _kept(folder / "control"), _kept(folder / "view")
        if control == view:
            raise TokenProblem(f"{folder}: `view` is the same as `control`, and would be good for everything")
        return cls(control, view)

    def role(self, authorization: str) -> Role | None:
        """What an `Authorization` header gives; None for one that gives nothing. Takes as long for each."""
        shown = authorization.encode(errors="replace")
        control = hmac.compare_digest(shown, f"Bearer {self.control}".encode())
        view = hmac.compare_digest(shown, f"Bearer {self.view or self.control}".encode())
        return "control" if control else "view" if view else None


class TokenFiles(NamedTuple):
    """Where the tokens of a host lie while it serves."""

    control: Path
    view: Path

    @classmethod
    def of(cls, home: Path, port: int) -> TokenFiles:
        """Those of the host on this port of this machine; `home` is the project's."""
        return cls(home / FOLDER / f"{port}.control", home / FOLDER / f"{port}.view")

    def write(self, tokens: Tokens) -> None:
        """Write them, in place of what a host that died has left. Raises `TokenProblem`."""
        for path, token in ((self.control, tokens.control), (self.view, tokens.view)):
            if token is not None:
                _write(path, token)

    def remove(self, tokens: Tokens) -> None:
        """Remove them, unless they are those of another host by now."""
        for path, token in ((self.control, tokens.control), (self.view, tokens.view)):
            with contextlib.suppress(OSError, TokenProblem):
                if read_token(path) == token:
                    path.unlink()


def read_token(path: Path) -> str:
    """The token in a file that nobody else can read. Raises `TokenProblem`."""
    try:
        # Opened once, and looked at then: what is behind a name may change. A pipe has its writer already.
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise TokenProblem(f"{path} can be read by others; `chmod 600 {path}` makes it yours alone")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenProblem(f"{path} cannot be read: {error.strerror}") from None
    token = content.decode("ascii", errors="replace").strip()
    fits = token.isascii() and token.isprintable() and " " not in token and len(content) <= MAX_FILE_BYTES
    if not token or not fits:
        raise TokenProblem(f"{path} has no token in it: one line is wanted")
    return token


def _kept(path: Path) -> str:
    """The token in a file; where there is none a new one is put there, once, whoever else does that just then."""
    if not path.exists():
        own = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        _write(own, secrets.token_urlsafe(TOKEN_BYTES))
        try:
            os.link(own, path)
        except FileExistsError:  # somebody was quicker
            pass
        except OSError as error:
            raise TokenProblem(f"{path} cannot be written: {error.strerror}") from None
        finally:
            own.unlink(missing_ok=True)
    return read_token(path)


def _write(path: Path, token: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.name == FOLDER:  # a project's own, which may be kept in a repository
            (path.parent / ".gitignore").write_text("*\n", encoding="ascii")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise TokenProblem(f"{path} cannot be written: {error.strerror}") from None
