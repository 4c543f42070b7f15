"""`pf doctor`: what is there, what is missing, what does not work; one line each."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.state.errors import StoreError
from penguiflow.state.files import BUSY_TIMEOUT_S, explain, open_to_read
from playground.breakpoints import BreakpointsProblem, BreakpointStore
from playground.cli.console import Console
from playground.cli.failures import ExitCode
from playground.cli.failures import explain as explain_failure
from playground.dashboard.text import many_lines, one_line, pad
from playground.project import PROJECT_FILE, Project, ProjectError, find_project

__all__ = ["Check", "DoctorOutput", "examine"]

OLDEST_PYTHON = (3, 11)
_EXTRAS = {
    "playground": ("textual", "typer", "watchfiles", "websockets"),
    "llm": ("pydantic_ai", "genai_prices"),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
}
_GLYPHS = {"ok": "✔", "warning": "!", "error": "✖"}
_ROLES = {"ok": "ok", "warning": "warn", "error": "error"}


class Check(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(extra="forbid")

    name: str
    status: Literal["ok", "warning", "error"]
    """Only an error makes the exit code 2."""
    message: str
    hint: str | None = None
    """What to do about it."""


class DoctorOutput(BaseModel):
    """`pf doctor --json`: what was looked at."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    ok: bool
    """False when one of them is an error."""
    checks: list[Check]


def examine(*, load: bool, json: bool) -> int:
    """Look at everything and print it; returns the exit code. `load`: also load the project's flows."""
    console = Console()
    checks: list[Check] = []
    for check in _checks(console, load=load):
        checks.append(check)
        if not json:
            _tell(console, check)
    ok = all(check.status != "error" for check in checks)
    if json:
        output = DoctorOutput(schema=1, ok=ok, checks=checks)
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
    return ExitCode.DONE if ok else ExitCode.USAGE


def _checks(console: Console, *, load: bool) -> Iterator[Check]:
    yield _python()
    yield _package()
    yield from _extras()
    project = find_project()
    yield _project(project)
    yield from _store(project)
    yield _breakpoints(project)
    if load:
        yield from _flows(project)
    yield _terminal(console)
    yield _editor()


def _python() -> Check:
    told = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return _error("python", told, "penguiflow needs Python 3.11 or newer")
    return _ok("python", told)


def _package() -> Check:
    folder = Path(__file__).resolve().parents[2]
    try:
        return _ok("penguiflow", f"{installed('penguiflow')} in {folder}")
    except PackageNotFoundError:
        return _warning("penguiflow", f"in {folder}, and not installed", "pip install -e .")


def _extras() -> Iterator[Check]:
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if not _is_there(module)]
        if not missing:
            yield _ok(extra, "installed")
            continue
        told = f"not installed ({', '.join(missing)} missing)"
        hint = f'pip install "penguiflow[{extra}]"'
        yield _error(extra, told, hint) if extra == "playground" else _ok(extra, f"{told}: {hint} if you need it")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _project(project: Project) -> Check:
    try:
        project.check()
        targets = project.default_targets()
    except ProjectError as error:
        return _error("project", str(error))
    if not (project.root / PROJECT_FILE).is_file():
        told = f"{project.root}, which has no {PROJECT_FILE}: another folder is another project"
        return _warning("project", told, "pf new NAME makes one")
    return _ok("project", f"{project.root}, flows in {', '.join(targets) or 'no folder yet'}")


async def _look_at_server(project: Project) -> Check:
    from penguiflow.state.traces import TraceQuery
    from playground.storing import open_store

    store = open_store(project, read_only=True)
    try:
        await store.open()
        newest = await store.find_traces(TraceQuery(limit=1, background=True))
        size = await store.size()
    except StoreError as error:
        return _error("store", str(error))
    finally:
        await store.close()
    told = "no runs"
    if newest:
        told = f"its last run began {time.strftime('%Y-%m-%d %H:%M', time.localtime(newest[0].started))}"
    return _ok("store", f"{store.place}, {told}, {size / 1e6:,.1f} MB")


def _store(project: Project) -> Iterator[Check]:
    try:
        if project.store_address() is not None:
            yield asyncio.run(_look_at_server(project))
            return
    except ProjectError:  # told already
        return
    path = project.database
    if not path.exists():
        place = _writable_place(path)
        if place is not None:
            yield _error("store", f"{path} cannot be made: {place} may not be written")
        else:
            yield _ok("store", f"{path}, which the first run makes")
        return
    try:
        opened = open_to_read(path, timeout_s=BUSY_TIMEOUT_S)
        if opened is None:
            yield _ok("store", f"{path}, which is empty")
            return
        with closing(opened):
            (version,) = opened.connection.execute("PRAGMA user_version").fetchone()
            (count,) = opened.connection.execute("SELECT count(*) FROM traces").fetchone()
            size = path.stat().st_size
            # A very large file would take minutes.
            check = "PRAGMA quick_check(1)" if size < _CHECKED_BYTES else "SELECT 'ok'"
            (found,) = opened.connection.execute(check).fetchone()
        if found != "ok":
            yield _error("store", f"{path} is damaged: {found}", "move it aside; `pf export` may save single traces")
            return
        if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            yield _error("store", f"{path} may not be written: runs are not recorded", "check its permissions")
        else:
            yield _ok("store", f"{path}, {count:,} runs, {size / 1e6:,.1f} MB, version {version}")
    except (StoreError, sqlite3.Error) as error:
        yield _error("store", str(explain(error, path, writing=False)))
    free = shutil.disk_usage(path.parent).free
    if free < _LITTLE_BYTES:
        yield _warning("disk", f"{free / 1e6:,.0f} MB left for {path.parent}", "`pf prune` removes old runs")


_LITTLE_BYTES = 200_000_000
_CHECKED_BYTES = 2_000_000_000


def _writable_place(path: Path) -> Path | None:
    """The folder in which the file's folder would have to be made, if that is not possible."""
    place = next(folder for folder in path.parents if folder.exists())
    return None if os.access(place, os.W_OK | os.X_OK) else place


def _breakpoints(project: Project) -> Check:
    try:
        found = BreakpointStore(project.home).load()
    except BreakpointsProblem as problem:
        return _error("breakpoints", str(problem), "`pf break add` sets it aside and begins a new one")
    enabled = sum(each.enabled for each in found)
    return _ok("breakpoints", f"{len(found)}, {enabled} of them on" if found else "none")


def _flows(project: Project) -> Iterator[Check]:
    """Each module that is loaded by default, with what it offers or why it offers nothing."""
    try:
        modules = asyncio.run(_load(project))
    except (StoreError, ProjectError) as error:
        yield _error("flows", str(error))
        return
    except Exception as error:  # the host died of a project's code
        failure = explain_failure(error)
        if failure is None:
            raise
        yield _error("flows", failure.message, failure.hint)
        return
    if not modules:
        yield _warning("flows", "none: there is no folder flows/", "pf new NAME makes a project with one")
    for path, names, problem, hint in modules:
        if problem is not None:
            yield _error("flow", f"{path}: {problem}", hint)
        elif names:
            yield _ok("flow", f"{path}: {', '.join(names)}")


async def _load(project: Project) -> list[tuple[str, list[str], str | None, str | None]]:
    from playground.session import HostSession

    if not project.default_targets():
        return []
    async with HostSession(project, record=False) as host:
        return [
            (
                module.path,
                [flow.name for flow in module.flows],
                None if module.error is None or module.error.kind == "no_flow" else module.error.message,
                None if module.error is None else module.error.hint,
            )
            for module in host.modules
        ]


def _terminal(console: Console) -> Check:
    if not (sys.stdin.isatty() and console.out_terminal):
        return _warning("terminal", "none here: `pf tui` needs one, all other commands do not")
    size = shutil.get_terminal_size()
    encoding = (sys.stdout.encoding or "").lower()
    colors = "24 bit color" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256 colors or fewer"
    told = f"{os.environ.get('TERM', 'unknown')}, {size.columns}x{size.lines}, {encoding}, {colors}"
    if os.environ.get("TERM") in (None, "dumb"):
        return _warning("terminal", told, "set TERM, for example to xterm-256color")
    if "utf" not in encoding:
        return _warning("terminal", told, "boxes and marks need UTF-8: set LANG, for example to C.UTF-8")
    if size.columns < 80 or size.lines < 24:
        return _warning("terminal", told, "the dashboard is comfortable from 80x24 on")
    return _ok("terminal", told)


def _editor() -> Check:
    told = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if told:
        return _ok("editor", told)
    found = next((each for each in ("nano", "vi", "vim") if shutil.which(each)), None)
    if found is None:
        return _warning("editor", "none is known", "set EDITOR to edit payloads at stops")
    return _ok("editor", f"{found}; EDITOR names another")


def _tell(console: Console, check: Check) -> None:
    paint = console.out_paint
    mark = paint(_ROLES[check.status], _GLYPHS[check.status])
    hint = paint("dim", f"  ({one_line(check.hint)})") if check.hint else ""
    console.line(f"{mark} {pad(check.name, 12)}{one_line(many_lines(check.message).split(chr(10))[0])}{hint}")
    console.flush()


def _ok(name: str, message: str) -> Check:
    return Check(name=name, status="ok", message=message)


def _warning(name: str, message: str, hint: str | None = None) -> Check:
    return Check(name=name, status="warning", message=message, hint=hint)


def _error(name: str, message: str, hint: str | None = None) -> Check:
    return Check(name=name, status="error", message=message, hint=hint)
