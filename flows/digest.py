"""A digest of any directory: what is in its files, as a report to read and as a model to work with.

`walk` finds the files and fans out one message for each; `summarize` reads up to eight at a time; `report` joins what
comes back, streams it as Markdown and returns it. Nothing is left out silently:

- regular files count, and nothing else: links are not followed (a loop cannot catch the walk, nothing outside of the
  directory is read); links, pipes and other special files are named at the end of the report;
- folders of version control, environments and caches are passed over: see `IGNORED`, and a folder that holds a
  `pyvenv.cfg` or a `CACHEDIR.TAG`;
- a file that cannot be read is an entry of language `unreadable`; one that vanishes meanwhile, and a folder that
  cannot be read, are named at the end of the report.

What a line is, a language and a definition: see `_sources.py`.

Try it: `pf run flows/digest.py --input '{"path": "penguiflow"}'`
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import BaseModel, Field

from flows._sources import NotAFileError, read_source
from penguiflow import Context, ModelRegistry, Node, NodePolicy, create

IGNORED = frozenset(
    {
        *(".git", ".hg", ".svn", ".bzr", ".jj", "CVS"),
        *(".venv", "venv", "node_modules", ".tox", ".nox", ".uv"),
        *("__pycache__", ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache"),
        *(".hypothesis", ".penguiflow", ".ipynb_checkpoints"),
    }
)
"""Folders that are passed over, wherever they are."""
MARKERS = ("pyvenv.cfg", "CACHEDIR.TAG")
"""Files that make the folder that holds them a virtual environment or a cache, whatever its name."""

SHOWN_FILES = 200
"""How many files the streamed report lists; the model holds all of them."""
SHOWN_NAMES = 12
"""How many definitions of a file, and how many things left out, the streamed report lists."""
CHUNK_LINES = 20
"""Lines of the report in one piece of its stream."""


class Source(BaseModel):
    """What to digest."""

    path: str = Field(".", min_length=1, description="A directory; relative to where the run was started.")


class Task(BaseModel):
    """One file to look at, or the news that there are none."""

    root: str
    total: int
    """How many files there are in all."""
    path: str
    """Relative to the root, with `/`, fit to be shown: bytes that are no UTF-8 are written `\\\\xff`."""
    raw: str | None = None
    """The same with each byte kept, percent-encoded; only for names that are no UTF-8."""
    skipped: list[str] = Field(default_factory=list)
    """What the walk left out; told once, with the first file."""


class Entry(BaseModel):
    """One file."""

    path: str
    bytes: int
    lines: int
    language: str
    definitions: list[str]


class Summary(BaseModel):
    """What became of a task."""

    root: str
    total: int
    entry: Entry | None = None
    skipped: list[str] = Field(default_factory=list)


class Report(BaseModel):
    """All the files, sorted by path, and what they add up to."""

    files: int
    bytes: int
    lines: int
    languages: dict[str, int]
    """Files by language, the most frequent first."""
    entries: list[Entry]


async def walk(source: Source, ctx: Context) -> None:
    """Find the files and send out a task for each. Raises `OSError` for a path that is no directory to be read."""
    paths, skipped = await asyncio.to_thread(find_files, source.path)
    if not paths:
        await ctx.emit(Summary(root=source.path, total=0, skipped=skipped), to=report_node)
    for path in paths:
        shown = printable(path)
        raw = None if shown == path else quote_from_bytes(os.fsencode(path))
        task = Task(root=source.path, total=len(paths), path=shown, raw=raw, skipped=skipped)
        await ctx.emit(task, to=summarize_node)
        skipped = []


async def summarize(task: Task, ctx: Context) -> Summary:
    """Read one file."""
    entry, note = await asyncio.to_thread(describe, task)
    return Summary(root=task.root, total=task.total, entry=entry, skipped=[*task.skipped, *note])


async def report(summary: Summary, ctx: Context) -> Report | None:
    """Keep what comes in until it is complete; then stream the report and return it."""
    entries: list[Entry] = ctx.trace_state.setdefault("entries", [])
    skipped: list[str] = ctx.trace_state.setdefault("skipped", [])
    ctx.trace_state["arrived"] = arrived = ctx.trace_state.get("arrived", 0) + 1
    skipped.extend(summary.skipped)
    if summary.entry is not None:
        entries.append(summary.entry)
    if arrived < summary.total:
        return None

    entries.sort(key=lambda entry: entry.path)
    languages = Counter(entry.language for entry in entries)
    result = Report(
        files=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        lines=sum(entry.lines for entry in entries),
        languages=dict(sorted(languages.items(), key=lambda item: (-item[1], item[0]))),
        entries=entries,
    )
    lines = list(markdown(summary.root, result, sorted(skipped)))
    for start in range(0, len(lines), CHUNK_LINES):
        text = "".join(f"{line}\n" for line in lines[start : start + CHUNK_LINES])
        await ctx.emit_chunk(parent=ctx.message, text=text, done=start + CHUNK_LINES >= len(lines))
    return result


def find_files(root: str) -> tuple[list[str], list[str]]:
    """The regular files under `root`, as relative paths with `/` in a fixed order, and what was left out and why.

    Raises `OSError` when `root` does not exist, is no directory or cannot be read.
    """
    top = Path(root).expanduser()
    if not top.exists():
        raise FileNotFoundError(f"no such directory: {root!r} (in {str(Path.cwd())!r})")
    if not top.is_dir():
        raise NotADirectoryError(f"{root!r} is a file; give the directory that it is in")
    files: list[str] = []
    skipped: list[str] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(top / folder) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise
            skipped.append(f"{code(printable(folder))}: folder cannot be read ({error.strerror})")
            continue
        if folder and any(entry.name in MARKERS for entry in found):
            continue
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                skipped.append(f"{code(printable(path))}: link, not followed")
            elif entry.is_dir():
                if entry.name not in IGNORED:
                    folders.append(path)
            elif entry.is_file():
                files.append(path)
            else:
                skipped.append(f"{code(printable(path))}: special file")
    return files, skipped


def describe(task: Task) -> tuple[Entry | None, list[str]]:
    """The entry of a task's file; without one, a note that says why."""
    path = task.path if task.raw is None else os.fsdecode(unquote_to_bytes(task.raw))
    location = Path(task.root).expanduser() / path
    try:
        source = read_source(location)
    except (FileNotFoundError, NotAFileError, NotADirectoryError):
        return None, [f"{code(task.path)}: vanished before it was read"]
    except OSError:
        return Entry(path=task.path, bytes=size_of(location), lines=0, language="unreadable", definitions=[]), []
    return Entry(path=task.path, **source._asdict()), []


def size_of(location: Path) -> int:
    """Bytes of a file that cannot be read; 0 when not even that can be told."""
    try:
        return location.lstat().st_size
    except OSError:
        return 0


def printable(path: str) -> str:
    """A path as text: bytes that are no UTF-8 are written `\\\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def markdown(root: str, result: Report, skipped: list[str]) -> Iterator[str]:
    """The report's lines."""
    yield f"# Digest of {code(root)}"
    yield ""
    yield f"{count(result.files, 'file')}, {count(result.lines, 'line')}, {count(result.bytes, 'byte')}."
    if result.languages:
        yield ""
        yield "| language | files |"
        yield "| --- | ---: |"
        for language, files in result.languages.items():
            yield f"| {language} | {files:,} |"
        yield ""
        yield "## Files"
        yield ""
    for entry in result.entries[:SHOWN_FILES]:
        names = ": " + listed([code(name) for name in entry.definitions]) if entry.definitions else ""
        size = count(entry.bytes, "byte") if entry.language == "binary" else count(entry.lines, "line")
        yield f"- {code(entry.path)} ({entry.language}, {size}){names}"
    if len(result.entries) > SHOWN_FILES:
        yield ""
        yield f"… and {len(result.entries) - SHOWN_FILES:,} more; the result holds all of them."
    if skipped:
        yield ""
        yield "## Left out"
        yield ""
        yield from (f"- {note}" for note in skipped[:SHOWN_NAMES])
        if len(skipped) > SHOWN_NAMES:
            yield f"- … and {len(skipped) - SHOWN_NAMES:,} more"


def listed(names: list[str]) -> str:
    """The names, cut short when they are many."""
    more = f", … and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def count(number: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def code(text: str) -> str:
    """Text as inline code, whatever is in it."""
    safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    fence = "`" * next(width for width in range(1, len(safe) + 2) if "`" * width not in safe)
    gap = " " if "`" in safe else ""
    return f"{fence}{gap}{safe}{gap}{fence}"


walk_node = Node(walk, name="walk")
summarize_node = Node(summarize, name="summarize", policy=NodePolicy(max_concurrency=8))
report_node = Node(report, name="report")

flow = create(
    walk_node.to(summarize_node, report_node),
    summarize_node.to(report_node),
)

registry = ModelRegistry()
registry.register("walk", Source, Task)
registry.register("summarize", Task, Summary)
registry.register("report", Summary, Report)

__flow__ = {"title": "Digest of a directory", "samples": [{"path": "penguiflow"}, {"path": "flows"}, {"path": "docs"}]}
