"""From a save to the first event of the new code, from a save of broken code to its error, and a storm of saves.

    python benchmarks/reload.py [--saves 20] [--storm 10]

Makes a project of ten modules in a temporary folder, watches it as `pf tui` does, and changes one of its files. Times
are taken at the client: from the return of the write to the arrival of the run's first event, or of the error.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playground.live import LiveSource
from playground.loader.version import hash_source, version_of
from playground.project import project_at
from playground.protocol import ModuleInfo, Result, Run

SUBJECT = "flows/subject.py"
SHARED = "flows/shared.py"
BETWEEN_SAVES_S = 2.1
STORM_EVERY_S = 0.05
SETTLED_S = 1.0
POLL_S = 0.001
LIMIT_S = 30.0

SHARED_SOURCE = """
from __future__ import annotations

from pydantic import BaseModel, Field


class Part(BaseModel):
    name: str = Field(min_length=1)
    weight: float = 1.0
    tags: list[str] = []


class Task(BaseModel):
    title: str = "task"
    parts: list[Part] = []


class Report(BaseModel):
    number: int
    parts: int
"""

FLOW_SOURCE = """
from __future__ import annotations

from penguiflow import ModelRegistry, Node, create
from flows.shared import Report, Task

NUMBER = {number}


async def count(task: Task, ctx) -> Report:
    return Report(number=NUMBER, parts=len(task.parts))


async def check(report: Report, ctx) -> Report:
    return report


counting, checking = Node(count), Node(check)
flow = create(counting.to(checking))
registry = ModelRegistry()
registry.register("count", Task, Report)
registry.register("check", Report, Report)
"""


class Subject:
    """The file that is saved again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / SUBJECT
        for number in range(8):
            self.write(f"flows/other_{number}.py", FLOW_SOURCE.format(number=number))
        self.write(SHARED, SHARED_SOURCE)
        self.write("pyproject.toml", "")
        self.save(100_000)

    def write(self, name: str, content: str) -> None:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    def save(self, number: int) -> str:
        """Save a version that returns `number`; gives its hash."""
        self.write(SUBJECT, FLOW_SOURCE.format(number=number))
        return self.version(number)

    def version(self, number: int) -> str:
        """The hash of the code that returns `number`."""
        sources = {SUBJECT: FLOW_SOURCE.format(number=number), SHARED: SHARED_SOURCE}
        return version_of({name: hash_source(content.encode()) for name, content in sources.items()})


class Client:
    """A dashboard without a screen."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source

    def module(self) -> ModuleInfo | None:
        """What is known of the subject."""
        modules = self.source.inbox.modules or []
        return next((module for module in modules if module.path == SUBJECT), None)

    def version(self) -> str | None:
        """Which code a run would use."""
        module = self.module()
        return module.flows[0].version if module is not None and module.flows else None

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, looking often."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 (an inbox is looked at, not waited for)
                await asyncio.sleep(POLL_S)

    async def until_version(self, version: str) -> None:
        """Wait until a run would use this code."""
        await self.until(lambda: self.version() == version)

    async def first_event(self) -> str:
        """Run the subject and return when the run's first event is here."""
        trace_id = await self.source.run(Run(target=SUBJECT, input={}))
        wanted = trace_id.encode()
        await self.until(lambda: any(wanted in event[:120] for event in self.source.inbox.events))
        return trace_id

    async def result(self) -> Result:
        """Run the subject to its end."""
        trace_id = await self.source.run(Run(target=SUBJECT, input={}))
        return await self.end_of(trace_id)

    async def end_of(self, trace_id: str) -> Result:
        """Wait for the end of a run."""
        results = self.source.inbox.results
        await self.until(lambda: any(result.trace_id == trace_id for result in results))
        found = next(result for result in results if result.trace_id == trace_id)
        results.clear()
        self.source.inbox.events.clear()
        return found


async def measure_saves(client: Client, subject: Subject, count: int) -> tuple[list[float], list[float]]:
    """Seconds from good saves to first events, and from broken saves to their errors."""
    good, broken = [], []
    for number in range(count):
        await asyncio.sleep(BETWEEN_SAVES_S)
        version = subject.save(200_000 + number)
        saved = time.perf_counter()
        await client.until_version(version)
        trace_id = await client.first_event()
        good.append(time.perf_counter() - saved)
        result = await client.end_of(trace_id)
        assert result.version == version, "a run of other code than what was saved"

        await asyncio.sleep(BETWEEN_SAVES_S)
        subject.write(SUBJECT, "def broken(:\n")
        saved = time.perf_counter()
        await client.until(lambda: (module := client.module()) is not None and module.error is not None)
        broken.append(time.perf_counter() - saved)
        module = client.module()
        assert module is not None, "the module is gone"
        assert (module.state, client.version()) == ("stale", version), "the last good version is not served"
    return good, broken


async def storm(client: Client, subject: Subject, seconds: float) -> tuple[int, int, int]:
    """Save 20 times a second while running; gives the numbers of saves, runs and different versions that ran."""
    wrong: list[str] = []
    seen: set[str] = set()
    saves = runs = 0
    number = 300_000
    saving = True

    async def save() -> None:
        nonlocal saves, number, saving
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            number += 1
            subject.save(number)
            saves += 1
            await asyncio.sleep(STORM_EVERY_S)
        saving = False

    async def run() -> None:
        nonlocal runs
        while saving:
            result = await client.result()
            runs += 1
            check(result)
            await asyncio.sleep(0.01)

    def check(result: Result) -> None:
        if result.status != "ok" or result.version is None:
            wrong.append(f"{result.status}: {result.error}")
            return
        seen.add(result.version)
        if result.version != subject.version(result.output["number"]):
            wrong.append(f"{result.output['number']} ran as {result.version[:12]}")

    await asyncio.gather(save(), run())
    await asyncio.sleep(SETTLED_S)
    last = await client.result()
    check(last)
    if last.version != subject.version(number):
        wrong.append(f"a second after the last save {last.output} ran, not {number}")
    assert not wrong, wrong
    return saves, runs + 1, len(seen)


def resident_mb(pid: int) -> float:
    """Memory that a process occupies."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def line(name: str, seconds: list[float]) -> str:
    """Percentiles, in milliseconds."""
    ordered = sorted(seconds)
    p50 = statistics.median(ordered) * 1e3
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))] * 1e3
    return f"{name:<28} p50 {p50:6.1f} ms   p95 {p95:6.1f} ms   max {ordered[-1] * 1e3:6.1f} ms   n {len(ordered)}"


async def main(saves: int, storm_s: float) -> None:
    """Print everything."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subject = Subject(root)
        os.chdir(root)
        source = LiveSource(project_at(root))
        client = Client(source)
        started = time.perf_counter()
        await source.start()
        try:
            await client.until(client.version)
            print(f"ten modules listed after      {(time.perf_counter() - started) * 1e3:6.1f} ms")
            if saves:
                good, broken = await measure_saves(client, subject, saves)
                print(line("save to first event", good))
                print(line("broken save to error", broken))
                await asyncio.sleep(BETWEEN_SAVES_S)
                spare = source.spare_pid
                print(f"memory of the spare           {resident_mb(spare) if spare else 0:6.1f} MB")
            if storm_s:
                subject.save(250_000)
                await client.until_version(subject.version(250_000))
                made, ran, versions = await storm(client, subject, storm_s)
                print(f"storm: {made} saves, {ran} runs of {versions} versions, each of the code that it recorded;")
                print("       a second after the last save its version ran")
        finally:
            stopping = time.perf_counter()
            await source.stop()
            print(f"stopped in                    {(time.perf_counter() - stopping) * 1e3:6.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=20)
    parser.add_argument("--storm", type=float, default=10.0, metavar="SECONDS")
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.saves, options.storm)))
