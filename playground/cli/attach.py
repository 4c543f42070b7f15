"""`pf tui --attach URL`: who is there, whether the token is good, and the dashboard's source."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from playground.cli.addresses import check_url, is_loopback
from playground.cli.failures import ExitCode, Failure
from playground.dashboard.text import one_line
from playground.host.tokens import TokenFiles, TokenProblem, read_token
from playground.project import Project
from playground.remote import RemoteSource, probe
from playground.supervisor.client import ConnectionLost, NotAdmitted

__all__ = ["Attached", "attach", "end_with_parent"]

WATCH_EVERY_S = 0.5


class Attached(NamedTuple):
    """A host elsewhere that has let us in."""

    source: RemoteSource
    title: str


def attach(url: str, *, token_file: Path | None, read_only: bool, insecure: bool, project: Project) -> Attached:
    """Look who is there. Raises `Failure`: nobody, a wrong token, something else, another version."""
    url = check_url(url, insecure=insecure)
    token = _token(url, token_file, read_only=read_only, project=project)
    place = urlsplit(url).netloc
    try:
        control = asyncio.run(probe(url, token()))
    except TokenProblem as problem:
        raise Failure(f"--token-file: {problem}") from None
    except NotAdmitted as error:
        raise Failure(f"{one_line(place)}: {error}", hint=_hint(str(error))) from None
    except ConnectionLost as error:
        why = str(error).removeprefix("cannot connect to the host: ")
        raise Failure(
            f"nothing answers at {one_line(url)}: {one_line(why)}",
            ExitCode.NOT_FOUND,
            hint="`pf serve --debug TARGET` says where it is",
        ) from None
    seen = "" if control and not read_only else " (looking on)"
    return Attached(RemoteSource(url, token, read_only=read_only), f"{place}{seen}")


def end_with_parent() -> None:
    """In a browser's tab: end when the server is gone, however that went. There is no terminal to be put in order."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="penguiflow-parent", daemon=True).start()


def _token(url: str, given: Path | None, *, read_only: bool, project: Project) -> Callable[[], str]:
    """Reads the token again for each try, since a host that is started anew has another; a pipe can be read once."""
    path = given or _own_file(url, read_only=read_only, project=project)
    if path.is_file():
        return lambda: read_token(path)
    try:
        token = read_token(path)
    except TokenProblem as problem:
        raise Failure(f"--token-file: {problem}") from None
    return lambda: token


def _own_file(url: str, *, read_only: bool, project: Project) -> Path:
    """Where a host of this project on this machine has put its token."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") and parts.port is not None:
        files = TokenFiles.of(project.home, parts.port)
        for path in (files.view, files.control) if read_only else (files.control, files.view):
            if path.is_file():
                return path
    raise Failure(
        "--attach: the token is missing: this project has no host there",
        hint="--token-file FILE names the file with it; `pf serve` says where it lies",
    )


def _hint(why: str) -> str | None:
    if "token" in why:
        return "each start of `pf serve` makes new ones unless --tokens keeps them; copy the file anew for --token-file"
    if "version" in why:
        return "install the same version of penguiflow on both sides"
    return None
