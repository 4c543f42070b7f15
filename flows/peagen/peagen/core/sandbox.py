"""Rendering templates that are not trusted: in child processes with limits on time, memory and output.

Jinja's sandbox keeps templates from Python's insides, but a template can still run for ever, or fill the memory.
So it runs in a process of its own, without the environment (where the keys are), that may write no file and
start no process. A process renders one template after the other; where one goes too far, it is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import pickle
import signal
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peagen.errors import TemplateFailed, TemplateTooLarge, TemplateTooSlow, TemplateUnsafe

_HEADER = struct.Struct(">I")
_CHILD = """\
import sys
sys.path = sys.argv[1:]
from peagen.core.sandbox_child import main
main()
"""
_LOADER_NEEDS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # where Python's own library is, on some machines
_STARTING_S = 60.0  # on top of what a job may take: a busy machine may be slow to start a process
_ENDING_S = 30.0
# A ptree makes a few records for each module: what that takes at most, read as YAML and all.
_CPU_OF_ITEM_S = 0.002
_MEMORY_OF_ITEM = 40_000  # bytes
_OUTPUT_OF_ITEM = 4_000  # bytes
_KINDS = {"failed": TemplateFailed, "large": TemplateTooLarge, "unsafe": TemplateUnsafe}


@dataclass(frozen=True)
class Limits:
    """What one template may use."""

    cpu_seconds: float = 10.0
    wall_seconds: float = 120.0
    """Generous: it is the processor's time that tells an endless loop from a busy machine."""
    memory_bytes: int = 512 * 1024 * 1024
    """Of the process, with some 60 MB that Python and Jinja take."""
    output_bytes: int = 16 * 1024 * 1024

    def for_items(self, items: int) -> Limits:
        """What a template that goes over so many items may use."""
        return Limits(
            cpu_seconds=self.cpu_seconds + items * _CPU_OF_ITEM_S,
            wall_seconds=self.wall_seconds + 4 * items * _CPU_OF_ITEM_S,
            memory_bytes=self.memory_bytes + items * _MEMORY_OF_ITEM,
            output_bytes=self.output_bytes + items * _OUTPUT_OF_ITEM,
        )


@dataclass(frozen=True)
class RenderJob:
    """One template to render: a file (`template_path`) or a text (`template_text`).

    `search_path` are folders of templates, which includes are looked for in. `data_paths` are folders of data:
    what is included from them is inserted as it is. Names in `data_first` are looked for there first.
    With `parse_yaml` the text is parsed as YAML, too, within the limits. `shared` is what many jobs see alike, made
    once: what `packed` gives of a mapping; `parts` are names for places in it. `items` is how many the template goes
    over: limits grow with them.
    """

    name: str
    """What messages call it."""
    context: Mapping[str, Any]
    template_path: Path | None = None
    template_text: str | None = None
    search_path: tuple[Path, ...] = ()
    data_paths: tuple[Path, ...] = ()
    data_first: frozenset[str] = frozenset()
    parse_yaml: bool = False
    shared: bytes = b""
    parts: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    items: int = 0


@dataclass(frozen=True)
class Rendered:
    """The text, and the files it was made of: SHA-256 by absolute path."""

    text: str
    used_templates: dict[str, str] = field(default_factory=dict)
    used_data: dict[str, str] = field(default_factory=dict)
    value: Any = None
    """What the text stands for, where YAML was asked for."""


class Renderer:
    """Renders templates in a few child processes, which are started when they are needed.

    Usage: `async with Renderer() as renderer: rendered = await renderer.render(job)`. Any number of tasks may
    render at once; `size` processes work (one for each processor, at most four).
    """

    def __init__(self, limits: Limits | None = None, *, size: int | None = None) -> None:
        self.limits = limits or Limits()
        self._slots = asyncio.Semaphore(size or min(4, os.cpu_count() or 1))
        self._idle: list[asyncio.subprocess.Process] = []
        self._told: dict[asyncio.subprocess.Process, bytes] = {}
        """What is shared by jobs, as each process was told it last."""
        self._ended: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the processes."""
        children, self._idle, self._ended = [*self._idle, *self._ended], [], []
        await asyncio.gather(*(_ended(child) for child in children))

    async def render(self, job: RenderJob) -> Rendered:
        """Render one template.

        Raises:
            TemplateFailed: it cannot be rendered; or TemplateTooSlow, TemplateTooLarge, TemplateUnsafe.
        """
        limits = self.limits.for_items(job.items)
        async with self._slots:
            child = await self._child()
            try:
                frame = _frame(job, limits, self._told.get(child))
                self._told[child] = job.shared
                reply = await _reply(child, frame, job, limits)
            except BaseException:
                # Also when the caller gives up: what it does cannot be stopped otherwise.
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                self._end(child)
                raise
            if reply.get("last"):
                self._end(child)
            else:
                self._idle.append(child)
        if "error" in reply:
            kind = _KINDS.get(str(reply["error"]), TemplateFailed)
            raise kind(str(reply.get("message")), where=str(reply.get("where")), hint=str(reply.get("hint") or ""))
        return Rendered(str(reply["text"]), dict(reply["templates"]), dict(reply["data"]), reply.get("value"))

    def _end(self, child: asyncio.subprocess.Process) -> None:
        self._told.pop(child, None)
        self._ended.append(child)

    async def _child(self) -> asyncio.subprocess.Process:
        while self._idle:
            child = self._idle.pop()
            if child.returncode is None:
                return child
            self._end(child)
        path = [entry for entry in sys.path if Path(entry).is_absolute()]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", "-B", "-X", "utf8", "-c", _CHILD, *path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _LOADER_NEEDS if name in os.environ},
            cwd="/",
            start_new_session=True,
        )


async def _reply(child: asyncio.subprocess.Process, frame: bytes, job: RenderJob, limits: Limits) -> dict[str, Any]:
    assert child.stdin is not None
    assert child.stdout is not None
    most = limits.output_bytes * 14 + 1024 * 1024  # text and value, each character escaped
    try:
        async with asyncio.timeout(limits.wall_seconds + _STARTING_S):
            child.stdin.write(_HEADER.pack(len(frame)) + frame)
            await child.stdin.drain()
            (length,) = _HEADER.unpack(await child.stdout.readexactly(_HEADER.size))
            if length > most:
                raise TemplateTooLarge(f"the answer has {length:,} bytes", where=job.name)
            reply = json.loads(await child.stdout.readexactly(length))
    except TimeoutError:
        raise TemplateTooSlow(f"the template takes more than {limits.wall_seconds:g} s", where=job.name) from None
    except (asyncio.IncompleteReadError, ConnectionError):
        raise await _death(child, job, limits) from None
    if not isinstance(reply, dict):
        raise TemplateFailed("the renderer's answer is no answer", where=job.name)
    return reply


async def _death(child: asyncio.subprocess.Process, job: RenderJob, limits: Limits) -> TemplateFailed:
    """Why the process ended before it answered."""
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ENDING_S):
            said = await child.stderr.read() if child.stderr else b""
            await child.wait()
    code = child.returncode
    if code == -signal.SIGXCPU:
        return TemplateTooSlow(
            f"the template takes more than {limits.cpu_seconds:g} s of processor time",
            where=job.name,
            hint="An endless loop, or a very large one?",
        )
    if code == -signal.SIGKILL or b"MemoryError" in said:
        return TemplateTooLarge("the process that renders was killed: it took too much memory", where=job.name)
    ended = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    last = said.decode(errors="replace").strip().splitlines()[-1:]
    return TemplateFailed(
        f"the process that renders ended ({ended}): {''.join(last) or 'it said nothing'}", where=job.name
    )


async def _ended(child: asyncio.subprocess.Process) -> None:
    """Wait until the process is gone and its pipes are read out."""
    if child.stdin is not None:
        child.stdin.close()  # which ends it
    try:
        async with asyncio.timeout(_ENDING_S):
            await child.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()


def _frame(job: RenderJob, limits: Limits, told: bytes | None) -> bytes:
    try:
        context = plain(dict(job.context))
    except RecursionError:
        raise TemplateFailed("the payload contains itself", where=job.name) from None
    # The fields of `sandbox_render.Job`; Jinja is only loaded where it renders.
    return pickle.dumps(
        {
            "name": job.name,
            "context": context,
            "template_path": str(job.template_path) if job.template_path is not None else None,
            "template_text": job.template_text,
            "search_path": tuple(str(folder) for folder in job.search_path),
            "data_paths": tuple(str(folder) for folder in job.data_paths),
            "data_first": job.data_first,
            "parse_yaml": job.parse_yaml,
            "output_bytes": limits.output_bytes,
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
            "shared": None if job.shared == told else job.shared,  # as it was told before
            "parts": dict(job.parts),
        }
    )


def packed(context: Mapping[str, Any], name: str = "") -> bytes:
    """A mapping for `RenderJob.shared`. Raises `TemplateFailed` for one that contains itself."""
    try:
        return pickle.dumps(plain(dict(context)))
    except RecursionError:
        raise TemplateFailed("the payload contains itself", where=name) from None


def plain(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """The value made of nothing but mappings, lists, texts, numbers and dates: a template can do no harm with those.

    What is there several times is made once.
    """
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return value
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    made: Any
    if isinstance(value, Mapping):
        made = {_plain_key(key, seen): plain(item, seen) for key, item in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        made = [plain(item, seen) for item in value]
    else:
        made = str(value)
    seen[id(value)] = made
    return made


def _plain_key(key: Any, seen: dict[int, Any]) -> Any:
    made = plain(key, seen)
    return str(made) if isinstance(made, list | dict) else made
