"""What `pf run` and its like do where a run stops: breakpoints of their own, and somebody who decides."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from playground.breakpoints import Breakpoint, BreakpointsProblem, BreakpointStore
from playground.cli.breakpoints import checked_condition, checked_place
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.lines import Lines
from playground.cli.progress import Progress
from playground.dashboard.text import one_line
from playground.places import MAX_ID, free_id
from playground.project import Project
from playground.protocol import BaseFrame, Breakpoints, Questions, Resumed, Stopped
from playground.session import HostSession

__all__ = ["DebugOptions", "Debugging", "debugging", "read_break"]

_IF = " if "


class DebugOptions(NamedTuple):
    """Where a run is to stop, as it was typed."""

    places: Sequence[str] = ()
    condition: str | None = None
    stop_first: bool = False
    saved: bool = False
    """The project's breakpoints hold too."""

    @property
    def wanted(self) -> bool:
        """Whether the run may stop at all."""
        return bool(self.places) or self.stop_first or self.saved


def read_break(text: str, *, taken: Sequence[str] = ()) -> Breakpoint:
    """The breakpoint of `SPEC` or `SPEC if EXPR`. Raises `Failure`."""
    place_text, _, condition = text.partition(_IF)
    place = checked_place(place_text)
    return Breakpoint(
        id=free_id(place, taken),
        on=place.on,
        name=place.name,
        kind=place.kind,
        condition=checked_condition(condition.strip() or None),
    )


def debugging(options: DebugOptions, console: Console, *, json: bool, reads_stdin: bool) -> Debugging | None:
    """Who decides where the run stops; None when it is not to stop. Raises `Failure` where nobody could decide.

    `reads_stdin`: the input of the run comes from there.
    """
    if options.condition is not None and len(options.places) != 1:
        told = "--if belongs to one --break" if options.places else "--if needs a --break"
        raise Failure(told, hint="with several, write each as --break 'tool:fetch if args.url == \"b\"'")
    if not options.wanted:
        return None
    texts = [f"{options.places[0]}{_IF}{options.condition}"] if options.condition is not None else options.places
    own: list[Breakpoint] = []
    for text in texts:
        own.append(read_break(text, taken=[each.id for each in own]))
    if json:
        if reads_stdin:
            raise Failure("stdin gives the input, so that nobody could decide where the run stops", hint=_USE_A_FILE)
        from playground.cli.stop_lines import StopLines

        return StopLines(own, options, console, Lines())
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "on a terminal it asks; with --json it writes each stop as a line and reads what to do from stdin"
        raise Failure("there is no terminal, so that nobody could decide where the run stops", hint=hint)
    from playground.cli.stop_prompt import StopPrompt

    return StopPrompt(own, options, console, Lines())


_USE_A_FILE = "give the input as JSON, or as @FILE"


class Debugging(ABC):
    """Breakpoints that hold for one run, in a folder of their own, and the stops of that run."""

    def __init__(self, own: Sequence[Breakpoint], options: DebugOptions, console: Console, lines: Lines) -> None:
        self.console = console
        self.lines = lines
        self.stop_first = options.stop_first
        self.stops: dict[str, Stopped] = {}
        """Those that wait, by name, in order."""
        self.changed = asyncio.Event()
        """Set when `stops` may be others."""
        self._own = list(own)
        self._with_saved = options.saved
        self._saved: dict[str, int] = {}
        """Hits that the project's breakpoints had before, by id."""
        self._unfit: dict[str, str] = {}
        self.folder: Path | None = None
        """Where the breakpoints are, once it is prepared."""

    def prepare(self, project: Project) -> None:
        """Look at the project's breakpoints, if they are to hold. Raises `Failure`."""
        saved: list[Breakpoint] = []
        if self._with_saved:
            try:
                saved = BreakpointStore(project.home).load()
            except BreakpointsProblem as problem:
                raise Failure(str(problem), ExitCode.STORE) from None
        self._saved = {each.id: each.hits for each in saved}
        taken = [each.id for each in saved]
        self._own = [
            each.model_copy(update={"id": f"run:{each.id}"[:MAX_ID]}) if each.id in taken else each
            for each in self._own
        ]
        self.folder = Path(tempfile.mkdtemp(prefix="penguiflow-"))
        BreakpointStore(self.folder).change([*saved, *self._own])

    async def attend(self, host: HostSession) -> None:
        """Runs of the host stop from now on."""
        await host.debug(Breakpoints())

    def close(self, project: Project) -> list[str]:
        """Keep what the project's breakpoints were hit; returns the ids of the run's own that stopped nothing."""
        if self.folder is None:
            return []
        try:
            after = BreakpointStore(self.folder).load()
            hits = {each.id: each.hits - self._saved[each.id] for each in after if each.id in self._saved}
            hits = {name: count for name, count in hits.items() if count > 0}
            if hits:
                BreakpointStore(project.home).count(hits)
        except BreakpointsProblem as problem:
            self.console.tell(f"hits of breakpoints were not kept: {problem}")
            after = []
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        own = {each.id for each in self._own}
        return [each.id for each in after if each.id in own and not each.hits]

    def take(self, frame: BaseFrame, progress: Progress) -> None:
        """Take what the host says of stops, and of what the run asks."""
        if isinstance(frame, Stopped):
            self.stops[frame.stop] = frame
        elif isinstance(frame, Resumed):
            self.stops.pop(frame.stop, None)
        elif isinstance(frame, Breakpoints):
            self._tell_unfit(frame, progress)
        elif not isinstance(frame, Questions):
            return
        self.heard(frame)
        self.changed.set()

    def _tell_unfit(self, frame: Breakpoints, progress: Progress) -> None:
        for name, why in frame.unfit.items():
            if self._unfit.get(name) != why:
                self._unfit[name] = why
                told = f"the condition of {one_line(name)} did not fit what was there: {one_line(why)}"
                progress.note(told, role="warn")

    @abstractmethod
    def heard(self, frame: BaseFrame) -> None:
        """Called with each frame about stops as it comes."""

    @abstractmethod
    async def work(self, host: HostSession, progress: Progress) -> None:
        """Decide upon stops until the run is over; then it is cancelled."""
