"""What a run says while it goes on, as streams of its trace: answers, thoughts, and what tools put out.

Each attempt of a model has streams of its own. One that is not used, because the reply was repaired, the call tried
again, or the answer changed afterwards, ends with a piece whose meta has `superseded`. Of the answers exactly one ends
without: its text is the answer of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penguiflow.callsite import CallSite
from penguiflow.pieces import PartStreams
from penguiflow.planner.outcomes import PlannerFinish, PlannerPause

__all__ = ["ReplyStreams", "RunStreams", "ToolStreams", "streams_of"]

ANSWER = "answer"
THINKING = "thinking"
TOOL = "tool"


def streams_of(site: CallSite, name: str, *, deliver: bool) -> RunStreams | None:
    """The streams of a run whose span is `site`; None where nobody would have them.

    `deliver`: whoever waits for the results of the trace gets them; else they are in its log.
    """
    context = site.context
    if context is None or context._trace is None:
        return None
    if not site.recorded and not (deliver and context._trace.sink is not None):
        return None
    return RunStreams(PartStreams(context, deliver=deliver), site, name, alone=deliver)


class RunStreams:
    """The streams of one run."""

    def __init__(self, parts: PartStreams, site: CallSite, name: str, *, alone: bool) -> None:
        self._parts = parts
        self._name = name
        self._alone = alone
        """Whether the trace is this run and nothing else."""
        self._prefix = self.place(site)
        self._open: dict[str, tuple[dict[str, Any], str]] = {}
        """Meta and call of the streams that have not ended."""
        self._answer: tuple[str, list[str]] | None = None
        """The answer that counts until now: its stream and its text."""
        self._counts: dict[str, int] = {}
        self._replies: dict[str, int] = {}

    def place(self, site: CallSite) -> str:
        """What begins the names of streams from there: where it is in the run, the same whenever it is run again."""
        if site.scope is None or site.context is None:
            return self._name
        message_id, attempt, *inside = site.scope.place.split("/")
        if attempt != "0":
            inside.insert(0, f"attempt[{attempt}]")
        if not self._alone:
            inside.insert(0, f"{site.context.owner.name}[{message_id}]")
        return "/".join(inside)

    def next_name(self, base: str, *, live: bool) -> str:
        """The name of the next stream of this kind; `live`: the model is being asked, and is not repeated."""
        before = self._parts.before()
        while True:
            number = self._counts.get(base, 0)
            self._counts[base] = number + 1
            name = base if number == 0 else f"{base}#{number}"
            sent = before.get(name)
            if sent is None or not (sent.void or (live and not sent.over)):
                return name
            self._take_back(name)

    def name_again(self, base: str) -> str | None:
        """As `next_name`, for a reply that is repeated; None for one that was said before, and taken back."""
        before, name = self._parts.before(), self.next_name(base, live=False)
        return name if base not in before or name in before else None

    def reply_place(self, site: CallSite) -> str:
        """What begins the names of the next reply's streams: no two replies of a step share them."""
        place = self.place(site)
        number = self._replies.get(place, 0)
        self._replies[place] = number + 1
        return place if number == 0 else f"{place}/reply[{number}]"

    def say(self, name: str, text: str, meta: Mapping[str, Any], of: str) -> None:
        """A piece of a stream."""
        if meta["channel"] == ANSWER:
            if self._answer is not None and self._answer[0] != name:
                self._take_back(self._answer[0])
                self._answer = None
            if self._answer is None:
                self._answer = (name, [])
            self._answer[1].append(text)
        self._open[name] = dict(meta), of
        self._parts.put(name, text, meta=meta, of=of)

    def end(self, name: str) -> None:
        """A stream is over."""
        if name in self._open:
            meta, of = self._open.pop(name)
            self._parts.put(name, "", meta=meta, of=of, done=True)

    def take_back(self, name: str) -> None:
        """What a stream said is not used."""
        if self._answer is not None and self._answer[0] == name:
            self._answer = None
        if name in self._open:
            self._take_back(name)

    def _take_back(self, name: str) -> None:
        meta, of = self._open.pop(name, ({"channel": ANSWER}, ""))
        self._parts.put(name, "", meta={**meta, "superseded": True}, of=of, done=True)

    async def conclude(self, result: PlannerFinish | PlannerPause, *, wanted: bool) -> None:
        """The run has its result: the answer is over, or another one is said in its place.

        `wanted`: an answer that was not streamed is said whole.
        """
        answer = None
        if isinstance(result, PlannerFinish) and result.reason == "answer_complete":
            payload = result.payload
            answer = payload.get("raw_answer") if isinstance(payload, Mapping) else None
        if self._answer is not None and isinstance(answer, str) and "".join(self._answer[1]).strip() == answer.strip():
            self.end(self._answer[0])
        elif isinstance(answer, str) and answer and wanted:
            name = f"{self._prefix}/final"
            self.say(name, answer, {"channel": ANSWER, "phase": "final"}, "")
            self.end(name)
        self.close()
        await self.settle()

    async def settle(self) -> None:
        """Wait until there was room for all that was said."""
        await self._parts.settle()

    def close(self) -> None:
        """No piece follows: what has not ended is taken back, what an earlier attempt at this run left open too."""
        for name in list(self._open):
            self._take_back(name)
        inside = f"{self._prefix}/"
        for name, sent in self._parts.before().items():
            if name.startswith(inside) and not sent.over:
                self._take_back(name)


class ReplyStreams:
    """The streams of one reply of a model; of each attempt at it."""

    def __init__(self, streams: RunStreams, site: CallSite, about: Mapping[str, Any]) -> None:
        self._streams = streams
        self._place = streams.reply_place(site)
        self._of = site.span
        self._about = about
        self._names: dict[str, str | None] = {}

    def say(self, channel: str, text: str, *, live: bool) -> None:
        """A piece; `live`: from the model, which is being asked."""
        if channel not in self._names:
            base = f"{self._place}/{channel}"
            self._names[channel] = self._streams.next_name(base, live=True) if live else self._streams.name_again(base)
        name = self._names[channel]
        if name is not None:
            self._streams.say(name, text, {"channel": channel, **self._about}, self._of)

    def end(self, channel: str) -> None:
        """Nothing follows in this channel."""
        name = self._names.get(channel)
        if name is not None:
            self._streams.end(name)

    def void(self) -> None:
        """The attempt is not used; what comes now is another one."""
        for name in self._names.values():
            if name is not None:
                self._streams.take_back(name)
        self._names.clear()


class ToolStreams:
    """The streams of one call of a tool; of each attempt at it."""

    def __init__(self, streams: RunStreams, site: CallSite, name: str, call_id: str) -> None:
        self._streams = streams
        place = streams.place(site)
        self._place = place if site.scope is not None else f"{place}/{name}[{call_id}]"
        self._of = site.span
        self._about = {"channel": TOOL, "tool": name, "call_id": call_id}
        self._names: dict[str, str] = {}

    def put(self, stream: str, text: str, *, done: bool, meta: Mapping[str, Any]) -> None:
        """A piece, with what the tool says of it."""
        name = self._names.get(stream)
        if name is None:
            name = self._names[stream] = self._streams.next_name(f"{self._place}/{stream}", live=False)
        self._streams.say(name, text, {**self._about, "stream": stream, "meta": dict(meta)}, self._of)
        if done:
            self._streams.end(name)

    async def settle(self) -> None:
        """Wait until there was room for what was put."""
        await self._streams.settle()

    def void(self) -> None:
        """The attempt failed; another one follows."""
        for name in self._names.values():
            self._streams.take_back(name)
        self._names.clear()

    def close(self) -> None:
        """The call is over, and with it what the tool did not end."""
        for name in self._names.values():
            self._streams.end(name)
