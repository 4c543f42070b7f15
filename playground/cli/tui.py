"""`pf tui`: the dashboard. Only what the first paint needs is imported before it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from playground.cli.failures import ExitCode, Failure

if TYPE_CHECKING:
    from playground.project import Project
    from playground.sources import Source

__all__ = ["TuiOptions", "open_dashboard"]


STORE_CHECK_S = 0.1
"""How long to wait for a store that another program has locked."""


class TuiOptions(NamedTuple):
    """What `pf tui` was asked for, as it was typed."""

    paths: list[str]
    port: int | None = None
    theme: str | None = None
    screenshot: Path | None = None
    size: str = "120x40"
    keys: str = ""
    run: str | None = None
    sample: int = 0
    attach: str | None = None
    token_file: Path | None = None
    read_only: bool = False
    insecure: bool = False
    tour: bool = False


def open_dashboard(options: TuiOptions) -> int:
    """Show the dashboard until it is closed; returns the exit code."""
    from playground.cli.targets import check_target
    from playground.project import find_project
    from playground.supervisor.spawn import PortInUse, prestart

    _need_packages()
    size = _size(options.size)
    if options.screenshot is not None:
        _check_picture(options.screenshot)
    keys = [key.strip() for key in options.keys.split(",") if key.strip()]
    _check_names(options.theme, keys)
    port = _port(options.port)
    if options.attach is not None:
        return _attach(options, options.attach, size, keys)
    for flag, given in (("--token-file", options.token_file), ("--read-only", options.read_only)):
        if given:
            raise Failure(f"{flag} goes with --attach URL")
    files = _trace_files(options.paths)
    for path in options.paths if not files else ():
        check_target(path)
    if options.screenshot is None:
        _need_terminal()
    if files:
        return _open_files(files, options, size, keys)
    project = find_project(options.paths)
    if options.screenshot is not None:
        # On a screen flows run all the same, and a notice says why they are not recorded.
        _check_store(project)
    try:
        # The worker warms up on another core while Textual is imported on this one.
        prestarted = prestart(port)
    except PortInUse as error:
        raise Failure(str(error), hint="choose another port, or leave --port out") from None

    def source() -> Source:
        from playground.live import LiveSource

        return LiveSource(project, options.paths, port=port, prestarted=prestarted)

    from playground.dashboard import run_dashboard

    return run_dashboard(
        source,
        project=project,
        theme=options.theme,
        screenshot=options.screenshot,
        size=size,
        keys=keys,
        run=options.run,
        sample=options.sample,
        tour=options.tour,
    )


def _trace_files(paths: list[str]) -> list[Path]:
    """The paths, if they are trace files. Raises `Failure` when only some are."""
    found = [Path(path) for path in paths if Path(path).is_file() and not path.endswith(".py")]
    if found:
        from penguiflow.recording.tracefile import is_trace_file

        found = [path for path in found if is_trace_file(path)]
    if found and len(found) < len(paths):
        other = next(path for path in paths if Path(path) not in found)
        raise Failure(
            f"{found[0]} is a trace file, and {other} is none", hint="open either trace files, or flows: not both"
        )
    return found


def _open_files(files: list[Path], options: TuiOptions, size: tuple[int, int], keys: list[str]) -> int:
    """The dashboard of runs in files: to look at, not to run."""
    from playground.dashboard import run_dashboard
    from playground.project import find_project

    if options.port is not None or options.run is not None:
        raise Failure("--port, --run: a trace file has nothing to run")

    def source() -> Source:
        from playground.trace_files import FileSource

        return FileSource(files)

    return run_dashboard(
        source,
        project=find_project(),
        title=files[0].name if len(files) == 1 else f"{len(files)} trace files",
        theme=options.theme,
        screenshot=options.screenshot,
        size=size,
        keys=keys,
    )


def _attach(options: TuiOptions, url: str, size: tuple[int, int], keys: list[str]) -> int:
    """The dashboard of a host that is there already."""
    from playground.cli.attach import attach, end_with_parent
    from playground.project import find_project

    if options.paths or options.port is not None:
        raise Failure("--attach: the host there has its own flows and port; leave out the paths, and --port")
    if options.screenshot is None:
        _need_terminal()
    if _in_browser():
        end_with_parent()
    project = find_project()
    attached = attach(
        url,
        token_file=options.token_file,
        read_only=options.read_only,
        insecure=options.insecure,
        project=project,
    )
    from playground.dashboard import run_dashboard

    return run_dashboard(
        attached.source,
        project=project,
        title=attached.title,
        theme=options.theme,
        screenshot=options.screenshot,
        size=size,
        keys=keys,
        run=options.run,
        sample=options.sample,
    )


def _need_terminal() -> None:
    if _in_browser():
        return
    missing = [name for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout)) if not stream.isatty()]
    if missing or os.environ.get("TERM") == "dumb":
        why = f"{' and '.join(missing)} is no terminal" if missing else "TERM is dumb"
        raise Failure(
            f"the dashboard needs a terminal, and {why}".replace("stdin and stdout is", "stdin and stdout are"),
            hint="without one: `pf run TARGET` runs a flow, `pf inspect last` shows what happened, "
            "`pf tui --screenshot FILE.svg` draws the screen to a file",
        )


def _in_browser() -> bool:
    return bool(os.environ.get("TEXTUAL_DRIVER"))


def _need_packages() -> None:
    from importlib.util import find_spec

    for name in ("textual", "watchfiles", "websockets"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _check_store(project: Project) -> None:
    """Raise what is wrong with the traces. A look that would take long is not taken."""
    if project.store_address() is None:
        from penguiflow.state.files import check_file

        check_file(project.database, timeout_s=STORE_CHECK_S)
        return
    import asyncio

    from playground.storing import open_store

    async def look() -> None:
        store = open_store(project, read_only=True)
        try:
            await store.open()
        finally:
            await store.close()

    asyncio.run(look())


def _check_picture(path: Path) -> None:
    """Say what is wrong with the file's name before anything runs."""
    if not path.parent.is_dir():
        raise Failure(f"--screenshot: no such folder: {path.parent}")
    if path.suffix.lower() != ".svg":
        raise Failure(f"--screenshot: {path}: the picture is an SVG", hint=f"name it {path.with_suffix('.svg').name}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise Failure(f"--screenshot: {path} cannot be written", hint="name a file in a folder of your own")


def _check_names(theme: str | None, keys: list[str]) -> None:
    """Textual is asked only when there is something to ask: importing it takes time."""
    if theme is not None:
        from textual.theme import BUILTIN_THEMES

        if theme not in BUILTIN_THEMES:
            raise Failure(f"--theme: no theme is named {theme!r}", hint=f"there is {', '.join(sorted(BUILTIN_THEMES))}")
    for key in keys:
        if not _is_key(key):
            raise Failure(f"--keys: no key is named {key!r}", hint="such as tab,down,enter,ctrl+p,slash,G")


def _is_key(key: str) -> bool:
    import unicodedata

    from textual.keys import KEY_NAME_REPLACEMENTS, Keys

    name = key
    while name.startswith(("ctrl+", "shift+", "alt+")):
        name = name.partition("+")[2]
    if len(name) == 1 or name in {known.value for known in Keys} | set(KEY_NAME_REPLACEMENTS.values()):
        return True
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return False
    return True


def _port(port: int | None) -> int:
    if port is not None and not 0 <= port <= 65535:
        raise Failure(f"--port: {port} is no port", hint="give a number from 0 to 65535")
    return port or 0


def _size(text: str) -> tuple[int, int]:
    columns, _, rows = text.lower().partition("x")
    if columns.isdecimal() and rows.isdecimal() and 20 <= int(columns) <= 500 and 8 <= int(rows) <= 200:
        return int(columns), int(rows)
    raise Failure(f"--size: {text!r} is no size of a screen", ExitCode.USAGE, hint="columns x rows, such as 120x40")
