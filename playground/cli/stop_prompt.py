"""Stops at a terminal: each is shown, and whoever sits there says what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any, Literal

from penguiflow.recording.pointers import NOTHING, PointerError, assign, find, parts_of
from playground.cli.console import json_text
from playground.cli.debug import Debugging, read_break
from playground.cli.editing import EditorError, NotJson, as_text, edit_text, parse_edited
from playground.cli.failures import Failure
from playground.cli.progress import Progress
from playground.cli.stop_around import (
    as_pointer,
    as_value,
    context_text,
    edit_context,
    edit_memory,
    kv_text,
    memory_text,
)
from playground.cli.stop_text import heading, payload_lines, why_lines
from playground.dashboard.text import many_lines, one_line
from playground.protocol import BaseFrame, Decide, Resumed, Stopped
from playground.session import HostDied, HostSession
from playground.sources import RunRefused

__all__ = ["StopPrompt"]

Then = Literal["continue", "into", "over", "out"]

_STEPS: dict[str, Then] = {
    "c": "continue",
    "continue": "continue",
    "s": "into",
    "into": "into",
    "o": "over",
    "over": "over",
    "O": "out",
    "out": "out",
}
_SHORT = "c continue  s into  o over  O out  t run to  e edit  k skip  i put in  r retry  x abort  p print  ? help"
_HELP = """\
c            continue to the next breakpoint
s            step into: stop at the next checkpoint
o            step over: not inside of what comes now
O            step out: after the node, tool or planner around it
t SPEC       run to a place: t tool:fetch, t after_decision if next_node == "search"
e            edit what comes now in $EDITOR; then c, s, o, O or t goes on with it
e PATH=VALUE change one place: e /args/url=hello, e args.url=hello
u            forget the edits
E PART       edit headers, meta, llm_context or tool_context, at once; E PART PATH=VALUE
M            edit what the run remembers, at once; M summary=TEXT
k VALUE      skip it: this is its result (JSON, else text); k alone opens $EDITOR
i VALUE      put one message in: a text for the planner's next prompt, or what the node sends besides
r            retry
x REASON     abort the run
p            print all of it; p PATH, p why, p context, p memory, p kv
Enter        the last step again"""
_NEEDS = {"e": "edit", "k": "skip", "i": "inject", "r": "retry"}


class StopPrompt(Debugging):
    """Asks whoever sits at the terminal."""

    _asking: Stopped | None = None
    _gone: asyncio.Event
    _last: Then | None = None
    """The step that Enter repeats."""

    def heard(self, frame: BaseFrame) -> None:
        """Notice when the stop that is asked about is over."""
        if isinstance(frame, Resumed) and self._asking is not None and frame.stop == self._asking.stop:
            self._gone.set()

    async def work(self, host: HostSession, progress: Progress) -> None:
        """Ask about one stop after the other."""
        while True:
            while not self.stops:
                self.changed.clear()
                await self.changed.wait()
            stop = next(iter(self.stops.values()))
            async with self.lines.turn:
                self._asking, self._gone = stop, asyncio.Event()
                progress.hold()
                try:
                    await _Conversation(self, host, stop).hold()
                finally:
                    self._asking = None
                    self.stops.pop(stop.stop, None)
                    progress.release()

    async def line(self, prompt: str) -> str | None:
        """What is typed; None for the end of the file. Raises `_Over` when the run does not wait any more."""
        self.console.tell(self.console.err_paint("bold", prompt), end="")
        typing = asyncio.create_task(self.lines.next())
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait({typing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if typing.done():
                return typing.result()
            raise _Over
        except BaseException:
            self.console.tell("")  # the prompt's line is not to be written on
            raise
        finally:
            typing.cancel()
            gone.cancel()
            await asyncio.gather(typing, gone, return_exceptions=True)


class _Over(Exception):
    """The run does not wait any more."""


class _Conversation:
    """About one stop."""

    def __init__(self, prompt: StopPrompt, host: HostSession, stop: Stopped) -> None:
        self.prompt = prompt
        self.host = host
        self.stop = stop
        self.console = prompt.console
        self.paint = prompt.console.err_paint
        self.edited: Any = NOTHING
        """The whole of what `edit` takes, changed."""
        self.edits: dict[str, Any] = {}
        """Of a payload that is too large to be here."""
        self.draft: str | None = None
        """What was written in the editor and is no JSON."""

    async def hold(self) -> None:
        """Talk until the run goes on."""
        self._show()
        while True:
            try:
                line = await self.prompt.line(f"({one_line(self.stop.name)}) ")
                if await self._obey(line):
                    return
            except _Over:
                self._tell("the run does not wait any more", "warn")
                return
            except (Failure, EditorError, PointerError) as error:
                self._tell(many_lines(str(error)), "error")
                if isinstance(error, Failure) and error.hint:
                    self._tell(many_lines(error.hint), "dim")
            except RunRefused as refused:
                self._tell(many_lines(str(refused)), "error")
                for detail in refused.details:
                    self._tell(many_lines(f"  {detail.get('path') or '/'}: {detail.get('message')}"))
                if refused.code == "not_found":
                    return
            except HostDied:
                return

    # -- what can be said ----------------------------------------------------------------------------------------------

    async def _obey(self, line: str | None) -> bool:
        """Do what was typed; whether the run goes on."""
        if line is None:
            self._tell("(continues)", "dim")
            return await self._go_on("continue")
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not word:
            if self.prompt._last is None:
                self._tell(_SHORT, "dim")
                return False
            return await self._go_on(self.prompt._last)
        if word in _STEPS:
            self.prompt._last = _STEPS[word]
            return await self._go_on(_STEPS[word])
        needed = _NEEDS.get(word[0])
        if word in _NEEDS and needed not in self.stop.actions:
            raise Failure(f"{needed} is not possible here", hint=f"possible: {', '.join(self.stop.actions)}")
        commands: dict[str, Callable[[str], Awaitable[bool]]] = {
            "t": self._run_to,
            "e": self._edit,
            "u": self._undo,
            "E": self._edit_context,
            "M": self._edit_memory,
            "k": self._skip,
            "i": self._inject,
            "r": self._retry,
            "x": self._abort,
            "p": self._print,
            "?": self._help,
        }
        command = commands.get(
            {"to": "t", "edit": "e", "skip": "k", "inject": "i", "retry": "r", "abort": "x"}.get(word, word)
        )
        if command is None:
            self._tell(f"{one_line(word)} is not known here", "error")
            self._tell(_SHORT, "dim")
            return False
        return await command(rest)

    async def _go_on(self, then: Then, to: str | None = None) -> bool:
        where = None if to is None else read_break(to)
        if self.edited is not NOTHING:
            await self._decide(Decide(stop=self.stop.stop, action="edit", value=self.edited, then=then, to=where))
        elif self.edits:
            await self._decide(Decide(stop=self.stop.stop, action="edit", edits=self.edits, then=then, to=where))
        else:
            await self._decide(Decide(stop=self.stop.stop, then=then, to=where))
        return True

    async def _run_to(self, place: str) -> bool:
        if not place:
            raise Failure("run to where?", hint="t tool:fetch, t after_decision, t error")
        return await self._go_on("continue", place)

    async def _edit(self, text: str) -> bool:
        if not text:
            part = self._part()
            if part is NOTHING:
                raise Failure("it is too large for an editor here", hint="e PATH=VALUE changes one place")
            self.edited = await self._in_editor(part)
        else:
            path, equals, value = text.partition("=")
            if not equals:
                raise Failure(f"{one_line(text)} is no PATH=VALUE", hint="e /args/url=hello")
            self._change(self._place(path.strip()), as_value(value.strip()))
        self._show_edited()
        return False

    async def _undo(self, _: str) -> bool:
        self.edited, self.edits, self.draft = NOTHING, {}, None
        self._tell("the edits are forgotten", "dim")
        return False

    async def _skip(self, text: str) -> bool:
        result = as_value(text) if text else await self._in_editor(None)
        await self._decide(Decide(stop=self.stop.stop, action="skip", value=result))
        return True

    async def _inject(self, text: str) -> bool:
        value = as_value(text) if text else await self._in_editor(None)
        await self._decide(Decide(stop=self.stop.stop, action="inject", value=value))
        return True

    async def _retry(self, _: str) -> bool:
        await self._decide(Decide(stop=self.stop.stop, action="retry"))
        return True

    async def _abort(self, reason: str) -> bool:
        await self._decide(Decide(stop=self.stop.stop, action="abort", value=reason or None))
        return True

    async def _help(self, _: str) -> bool:
        self._tell(_HELP)
        return False

    async def _print(self, what: str) -> bool:
        if what == "why":
            why = self.stop.why
            lines = [] if why is None else why_lines(why, self.paint, width=self.console.err_width, full=True)
            self._tell("\n".join(lines) or "nothing is known of that")
        elif what == "context":
            self._tell(await context_text(self.host, self.stop))
        elif what == "memory":
            self._tell(await memory_text(self.host, self.stop))
        elif what == "kv":
            self._tell(await kv_text(self.host, self.stop))
        elif what:
            value = find(self._payload(), parts_of(as_pointer(what)))
            if value is NOTHING:
                raise Failure(f"there is nothing at {one_line(as_pointer(what))}")
            self._tell(many_lines(value) if isinstance(value, str) else json_text(value, indent=2))
        else:
            self._tell("\n".join(payload_lines(self.stop, self._payload(), self.paint, full=True)))
        return False

    async def _edit_context(self, text: str) -> bool:
        self._tell(await edit_context(self.host, self.stop, text, self._in_editor))
        return False

    async def _edit_memory(self, text: str) -> bool:
        self._tell(await edit_memory(self.host, self.stop, text, self._in_editor))
        return False

    # -- within --------------------------------------------------------------------------------------------------------

    async def _decide(self, decision: Decide) -> None:
        await self.host.debug(decision)

    def _part(self) -> Any:
        """What `edit` takes, as it is by now; `NOTHING` where it is not here."""
        if self.edited is not NOTHING:
            return self.edited
        if self.stop.bytes is not None:
            return NOTHING
        place = self.stop.value_at
        return self.stop.payload if not place else find(self.stop.payload, parts_of(place))

    def _payload(self) -> Any:
        """The payload with what was changed."""
        if self.edited is NOTHING:
            return self.stop.payload
        if not self.stop.value_at:
            return self.edited
        changed = deepcopy(self.stop.payload)
        with suppress(PointerError):
            assign(changed, parts_of(self.stop.value_at), self.edited)
        return changed

    def _place(self, text: str) -> str:
        """The place that is meant; an argument of a call may be named alone."""
        pointer = as_pointer(text)
        if text.startswith("/") or not pointer or find(self._payload(), parts_of(pointer)) is not NOTHING:
            return pointer
        return f"/args{pointer}" if find(self._payload(), parts_of(f"/args{pointer}")) is not NOTHING else pointer

    def _change(self, pointer: str, value: Any) -> None:
        place = self.stop.value_at
        part = self._part()
        if part is NOTHING:
            self.edits[pointer] = value
            return
        if place and pointer != place and not pointer.startswith(place + "/"):
            raise Failure(f"{one_line(pointer)} cannot be changed here", hint=f"only what is at {place}")
        inside = pointer[len(place) :]
        if not inside:
            self.edited = value
            return
        changed = deepcopy(part)
        parts = parts_of(inside)
        if find(changed, parts[:-1]) is NOTHING:
            known = ", ".join(map(str, part)) if isinstance(part, dict) else ""
            raise Failure(f"there is nothing around {one_line(pointer)}", hint=f"there are {known}" if known else None)
        assign(changed, parts, value)
        self.edited = changed

    async def _in_editor(self, value: Any) -> Any:
        text = self.draft if self.draft is not None else as_text(value)
        written = await edit_text(text)
        try:
            found = parse_edited(written)
        except NotJson as error:
            self.draft = written
            raise Failure(f"that is no JSON: {error}", hint="the same command opens it again; u forgets it") from None
        self.draft = None
        return found

    def _show_edited(self) -> None:
        if self.edited is not NOTHING:
            self._tell("\n".join(payload_lines(self.stop, self._payload(), self.paint)))
        self._tell("edited: c, s, o, O or t goes on with it; u forgets it", "dim")

    def _show(self) -> None:
        more = len(self.prompt.stops) - 1
        others = f" ({more} more stopped)" if more else ""
        self._tell(self.paint("paused", "‖ stopped ") + heading(self.stop) + self.paint("dim", others))
        if self.stop.breakpoint is not None:
            self._tell(f"at breakpoint {one_line(self.stop.breakpoint)}", "dim")
        for line in payload_lines(self.stop, self.stop.payload, self.paint):
            self._tell("  " + line)
        if self.stop.why is not None:
            for line in why_lines(self.stop.why, self.paint, width=self.console.err_width - 2):
                self._tell("  " + line)
        self._tell(_SHORT, "dim")

    def _tell(self, text: str, role: str = "") -> None:
        self.console.tell(self.paint(role, text) if role else text)
