"""What is left of a run when its host is killed, and after it was resumed.

    .venv/bin/python benchmarks/kill_resume.py [--kills 100] [--seed 1] [--pause 0.01]

Four flows (a fan-out with a join, a loop, a stream, and all of it in one) run side by side in one host. At a random
moment the host is killed (SIGKILL). What is interrupted is resumed: one trace by `pf resume` itself, the others in one
host; every third time that is killed as well, and resumed again. Then each trace is looked at:

- its log has no gaps, and its results are exactly those of a run that nobody killed;
- no invocation whose `node.end` was committed before a kill ran again;
- nothing else ran again than what had no committed end.

`losses` counts the traces of which one of that is not true. An input that was not yet in the store when the host died
was never taken on; it is sent in again (`not begun`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penguiflow.recording import TraceEvent
from penguiflow.recording.frontier import frontier
from penguiflow.state.sqlite import SQLiteStateStore
from playground.again import RestoreOrder
from playground.project import Project, find_project
from playground.protocol import Result, Run
from playground.session import HostDied, HostSession

FLOWS = ("fan", "loop", "stream", "everything")
SOURCE = Path(__file__).with_name("kill_resume_flows.py")
MODULE = "kill_resume_flows.py"
EFFECTS = "effects.log"


@dataclass
class Count:
    """What was found."""

    kills: int = 0
    missed: int = 0
    """Kills that came when everything was over."""
    resumed: int = 0
    not_begun: int = 0
    again: int = 0
    """Invocations that ran again."""
    open: int = 0
    """Invocations without a committed end when the host was killed."""
    losses: int = 0
    problems: list[str] = field(default_factory=list)
    behind_s: list[float] = field(default_factory=list)
    """From the last committed event to the kill."""
    uncommitted: list[int] = field(default_factory=list)
    """Invocations that had begun when the host was killed, of whose beginning the store knew nothing."""


class Lost(Exception):
    """Something is not as it should be."""


def results(events: list[TraceEvent]) -> Counter[str]:
    """What left the flow; pieces of streams with their text."""
    texts: dict[tuple[str, int], str] = {}
    found: Counter[str] = Counter()
    for event in events:
        data = event.data
        if event.kind == "stream.chunk":
            texts[data["stream_id"], data["chunk_seq"]] = data["text"]
        elif event.kind == "message.enqueued" and data["target"] == "Rookery":
            if "stream_id" in data:
                found[f"{data['chunk_seq']}: {texts[data['stream_id'], data['chunk_seq']]}"] += 1
            else:
                found[json.dumps(data["payload"]["value"], sort_keys=True)] += 1
    return found


def repetitions(events: list[TraceEvent]) -> tuple[int, int]:
    """How many invocations ran again, and how many had no committed end when the host was killed.

    Raises `Lost` when one ran again that had ended.
    """
    spans: dict[str, str] = {}
    begun: set[str] = set()
    ended: set[str] = set()
    again = open_ones = 0
    before: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    for event in events:
        if event.kind == "trace.start" and event.epoch:
            before = (frozenset(begun), frozenset(ended))
            open_ones += len(begun - ended)
        elif event.kind == "node.start":
            message_id = spans[event.span_id] = event.data["message_id"]
            if message_id in before[1]:
                raise Lost(f"{event.name} ran again although its end was committed")
            again += message_id in before[0]
            begun.add(message_id)
        elif event.kind == "node.end" and event.data["status"] != "interrupted":
            ended.add(spans[event.span_id])
    return again, open_ones


def is_obituary(event: TraceEvent) -> bool:
    """Whether it was written when the host was dead."""
    return event.kind == "host.died" or event.data.get("status") == "interrupted"


def host_pid() -> int:
    """Of the host that loaded the flows last."""
    return int(Path("host.pid").read_text(encoding="ascii"))


async def load(project: Project, trace_id: str) -> list[TraceEvent]:
    """The committed events of a trace."""
    store = SQLiteStateStore(project.database, read_only=True)
    try:
        return await store.load_events(trace_id)
    finally:
        await store.close()


async def hear(host: HostSession, traces: set[str], heard: dict[str, Result]) -> None:
    """Take in results until all are there, or the host is dead."""
    with suppress(HostDied):
        async for frame in host.frames():
            if isinstance(frame, Result):
                heard[frame.trace_id] = frame
                if traces <= heard.keys():
                    return


async def run_and_kill(project: Project, requests: list[Run], after_s: float | None) -> tuple[dict[str, Result], float]:
    """Run all of it in one host, and kill that after a while; gives the results that came, and when it was killed."""
    heard: dict[str, Result] = {}
    killed = 0.0
    with suppress(HostDied):
        async with HostSession(project, [MODULE]) as host:
            listening = asyncio.create_task(hear(host, {str(each.trace_id) for each in requests}, heard))
            begun = time.monotonic()
            for request in requests:
                await host.run(request)
            if after_s is None:
                await listening
            else:
                await asyncio.wait({listening}, timeout=max(0.0, begun + after_s - time.monotonic()))
                if not listening.done():
                    killed = time.time()
                    os.kill(host_pid(), signal.SIGKILL)
                await listening
    return heard, killed


async def resume_by_command(trace_id: str) -> None:
    """`pf resume`, as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "playground", "resume", trace_id, "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode != 0:
        raise Lost(f"pf resume ended with {process.returncode}: {err.decode().strip()}")
    told = json.loads(out)
    if told["status"] != "ok" or told["trace_id"] != trace_id:
        raise Lost(f"pf resume says {told}")


class Bench:
    """Kills hosts and looks at what is left."""

    def __init__(self, project: Project, randomness: random.Random) -> None:
        self.project = project
        self.random = randomness
        self.count = Count()
        self.expected: dict[str, Counter[str]] = {}
        self.lasts_s = 0.0

    async def learn(self) -> None:
        """Run everything once: what comes out, and how long it takes."""
        requests = [self.request(flow, f"learn-{flow}") for flow in FLOWS]
        begun = time.monotonic()
        await run_and_kill(self.project, requests, None)
        for flow, request in zip(FLOWS, requests, strict=True):
            events = await load(self.project, str(request.trace_id))
            self.expected[flow] = results(events)
            begun_s, ended_s = events[0].ts, events[-1].ts
            self.lasts_s = max(self.lasts_s, ended_s - begun_s)
        if time.monotonic() - begun < self.lasts_s or not all(self.expected.values()):
            raise Lost("the flows did not run")

    def request(self, flow: str, trace_id: str) -> Run:
        """One input for a flow: the same text always, so that what comes out is known."""
        return Run(target=f"{MODULE}:{flow}", input="q", trace_id=trace_id)

    async def kill(self, number: int) -> None:
        """One kill, and all that follows from it."""
        requests = [self.request(flow, f"kill-{number}-{flow}") for flow in FLOWS]
        self.random.shuffle(requests)
        _, killed = await run_and_kill(self.project, requests, self.random.uniform(0, self.lasts_s))
        if not killed:
            self.count.missed += 1
            return
        self.count.kills += 1
        before = {str(each.trace_id): await load(self.project, str(each.trace_id)) for each in requests}
        self._look_at_kill(before, killed)
        pending = await self.interrupted(before)
        if number % 3 == 2 and pending:
            orders = [self._resumption(requests, trace_id) for trace_id in pending]
            _, killed = await run_and_kill(self.project, orders, self.random.uniform(0, self.lasts_s / 2))
            self.count.kills += bool(killed)
            pending = await self.interrupted(before)
        if pending:
            await self._resume(requests, pending)
        for request in requests:
            trace_id = str(request.trace_id)
            flow = trace_id.rsplit("-", 1)[1]
            try:
                if not frontier(before[trace_id]).entered:
                    self.count.not_begun += 1
                    trace_id += "-again"
                    await run_and_kill(self.project, [self.request(flow, trace_id)], None)
                self.check(flow, await load(self.project, trace_id))
            except Lost as lost:
                self.count.losses += 1
                self.count.problems.append(f"{trace_id}: {lost}")

    async def interrupted(self, traces: dict[str, list[TraceEvent]]) -> list[str]:
        """Those traces that have begun and are not over."""
        store = SQLiteStateStore(self.project.database)
        try:
            await store.recover()
            found = [await store.get_trace(trace_id) for trace_id in traces]
        finally:
            await store.close()
        begun = {trace_id for trace_id, events in traces.items() if frontier(events).entered}
        return [each.trace_id for each in found if each and each.status == "interrupted" and each.trace_id in begun]

    def _resumption(self, requests: list[Run], trace_id: str) -> Run:
        target = next(each.target for each in requests if each.trace_id == trace_id)
        return Run(target=target, trace_id=trace_id, restore=RestoreOrder(trace_id=trace_id))

    async def _resume(self, requests: list[Run], pending: list[str]) -> None:
        self.count.resumed += len(pending)
        try:
            await resume_by_command(pending[0])
        except Lost as lost:
            self.count.problems.append(f"{pending[0]}: {lost}")
        if pending[1:]:
            await run_and_kill(self.project, [self._resumption(requests, each) for each in pending[1:]], None)

    def _look_at_kill(self, before: dict[str, list[TraceEvent]], killed: float) -> None:
        """How far the store was behind."""
        last = max((e.ts for events in before.values() for e in events if not is_obituary(e)), default=killed)
        self.count.behind_s.append(max(0.0, killed - last))
        ran = Counter(line.split("\t", 1)[0] for line in Path(EFFECTS).read_text(encoding="utf-8").splitlines())
        silent = {"join"}  # leaves no line
        known = sum(
            event.kind == "node.start" and event.name not in silent for events in before.values() for event in events
        )
        self.count.uncommitted.append(max(0, sum(ran[trace_id] for trace_id in before) - known))

    def check(self, flow: str, events: list[TraceEvent]) -> None:
        """Look at a trace that is over. Raises `Lost`."""
        if [event.seq for event in events] != list(range(len(events))):
            raise Lost("its log has gaps")
        if events[-1].kind != "trace.end" or events[-1].data["status"] != "ok":
            raise Lost(f"it ended with {events[-1].kind} {events[-1].data}")
        found = results(events)
        if found != self.expected[flow]:
            raise Lost(f"missing {self.expected[flow] - found}, too many {found - self.expected[flow]}")
        again, open_ones = repetitions(events)
        if again > open_ones:
            raise Lost(f"{again} invocations ran again, and only {open_ones} had not ended")
        self.count.again += again
        self.count.open += open_ones


async def measure(kills: int, seed: int, *, progress: bool = False) -> Count:
    """Kill that many hosts in a project of its own."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as folder:
        shutil.copy(SOURCE, Path(folder, MODULE))
        os.chdir(folder)
        try:
            bench = Bench(find_project([MODULE]), random.Random(seed))
            await bench.learn()
            number = 0
            # On a slow machine a kill may come before anything has begun that could be resumed.
            while bench.count.kills < kills or (not bench.count.resumed and number < 20 * kills):
                await bench.kill(number)
                number += 1
                if progress:
                    sys.stderr.write(f"\r{bench.count.kills} kills, {bench.count.losses} losses ")
        finally:
            os.chdir(here)
    return bench.count


def main() -> int:
    """Kill, and print what is left."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds that a call of the flows takes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ["PAUSE_S"] = str(given.pause)
    count = asyncio.run(measure(given.kills, given.seed, progress=sys.stderr.isatty()))
    figures: dict[str, Any] = {
        "kills": count.kills,
        "resumed": count.resumed,
        "not_begun": count.not_begun,
        "repeats": count.again,
        "without_committed_end": count.open,
        "losses": count.losses,
        "behind_ms_median": round(statistics.median(count.behind_s) * 1e3, 1),
        "behind_ms_max": round(max(count.behind_s) * 1e3, 1),
        "uncommitted_invocations_max": max(count.uncommitted),
    }
    for problem in count.problems:
        sys.stderr.write(f"{problem}\n")
    if given.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        begun, behind = figures["uncommitted_invocations_max"], figures["behind_ms_max"]
        lines = (
            f"kills      {count.kills} (traces resumed: {count.resumed}, inputs not begun: {count.not_begun})",
            f"repeats    {count.again} of {count.open} invocations without a committed end",
            f"losses     {count.losses}",
            f"window     batched: the last committed event is {figures['behind_ms_median']} ms old at a kill (median;",
            f"           at most {behind} ms), and at most {begun} invocations had begun of which it knows nothing",
        )
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if count.losses or count.problems else 0


if __name__ == "__main__":
    sys.exit(main())
