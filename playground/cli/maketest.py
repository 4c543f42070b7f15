"""`pf test`: a test that replays a trace, written after the replay has shown that it can be relied upon."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from pprint import pformat
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from penguiflow.recording.cassette import Cassette
from penguiflow.recording.divergence import difference
from penguiflow.recording.events import TraceEvent
from penguiflow.recording.paths import SpanPaths
from penguiflow.recording.replay import comparable
from penguiflow.recording.tape import blur, rename
from playground.again import ReplayOrder, ReplayReport
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.outputs import MadeTestOutput
from playground.cli.replay import count_calls, deviation, read_cassette, recorded_target, unwatched
from playground.cli.stores import reading
from playground.cli.targets import check_target
from playground.dashboard.text import many_lines
from playground.project import Project, find_project
from playground.protocol import Events, Result, Run
from playground.session import HostSession

__all__ = ["MakeOptions", "make_test"]

MAX_LITERAL_CHARS = 4000
"""Outputs that are longer stand in the cassette alone."""
_WIDTH = 110


class MakeOptions(NamedTuple):
    """What `pf test` was asked for, as it was typed."""

    trace: str
    out: Path
    force: bool = False
    json: bool = False


class _Sent(NamedTuple):
    """Something that a node gave away."""

    node: str
    value: Any


class _Once:
    """What one replay did."""

    def __init__(self, recorded_id: str) -> None:
        self.result: Result | None = None
        self.sent: dict[tuple[Any, ...], _Sent] = {}
        """Messages, chunks and requests in their order, by what they are known by in every run."""
        self._recorded_id = recorded_id
        self._paths = SpanPaths()

    def add(self, event: TraceEvent) -> None:
        """Take one event."""
        self._paths.add(event)
        data, kind = event.data, event.kind
        node = self._paths.of(event.span_id).path.rpartition("/attempt[")[0].rpartition("/")[2] or event.name
        if kind == "message.enqueued" and "payload" in data:
            self._keep(event, ("message", data.get("message_id")), str(data.get("source")), data["payload"])
        elif kind == "stream.chunk":
            stream = self._known(data.get("stream_id"), event)
            self._keep(event, ("chunk", stream, data.get("chunk_seq"), event.name), node, data.get("text"))
        elif "request" in data and "ordinal" in data:
            place = self._paths.of(event.span_id if kind == "record" else event.parent_id or "").place
            self._keep(event, ("call", place, event.name, data["ordinal"]), node, data["request"])

    def _keep(self, event: TraceEvent, key: tuple[Any, ...], node: str, value: Any) -> None:
        value = comparable(value) if isinstance(value, dict) and "type" in value else value
        self.sent.setdefault(key, _Sent(node.partition("[")[0], self._known(value, event)))

    def _known(self, value: Any, event: TraceEvent) -> Any:
        # Secrets that cannot be filled in again are others in a replay, as soon as something is made of them.
        return blur(rename(value, event.trace_id, self._recorded_id))


def make_test(options: MakeOptions) -> int:
    """Replay a trace twice and write the test; returns the exit code."""
    name = _test_name(options.out)
    cassette_file = options.out.parent / "cassettes" / f"{name}.json"
    if not options.force:
        for file in (options.out, cassette_file):
            if file.exists():
                raise Failure(f"{file} exists already", hint="--force writes over it")
    cassette = asyncio.run(read_cassette(options.trace))
    target = recorded_target(cassette)
    check_target(target)
    report = asyncio.run(_check(cassette, target))
    cassette_file.parent.mkdir(parents=True, exist_ok=True)
    cassette.save(cassette_file)
    options.out.write_text(_source(cassette, name), encoding="utf-8")
    console = Console()
    for line in unwatched(report):
        console.tell(line)
    if options.json:
        told = MadeTestOutput(
            schema=1,
            trace_id=cassette.trace_id,
            test=str(options.out),
            cassette=str(cassette_file),
            calls=len(cassette.calls),
        )
        console.json(told.model_dump(mode="json", by_alias=True))
    else:
        console.tell(
            f"{options.out} replays {cassette.trace_id[:12]} with {count_calls(len(cassette.calls))}: {cassette_file}"
        )
    return ExitCode.DONE


def _test_name(out: Path) -> str:
    """The name of the test without `test_`. Raises `Failure` for a file that pytest would not find."""
    found = re.fullmatch(r"test_(\w+)\.py|(\w+)_test\.py", out.name)
    if found is None:
        raise Failure(f"-o: pytest would not find {out.name}", hint="name it test_….py")
    return found[1] or found[2]


async def _check(cassette: Cassette, target: str) -> ReplayReport:
    """Replay twice, each time in a new process; tells how it went.

    Raises `Failure` unless both come out as recorded.
    """
    project = find_project([target])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "cassette.json"
        cassette.save(file)
        first, second = [await _replay(project, target, cassette, file) for _ in range(2)]
    _compare(first, second, "does not send the same twice")
    assert first.result is not None
    assert first.result.replay is not None
    report = first.result.replay
    failure = deviation(report)
    if failure is not None:
        raise failure
    if report.difference:
        _compare(await _recorded(cassette), first, "no longer sends what it sent when it was recorded")
        details = [many_lines(line) for line in report.difference.splitlines()]
        raise Failure("the flow does not come out as it was recorded", ExitCode.DIVERGED, details=details)
    return report


async def _replay(project: Project, target: str, cassette: Cassette, file: Path) -> _Once:
    once = _Once(cassette.trace_id)
    async with HostSession(project, [target], record=False, offline=True) as host:
        order = ReplayOrder(trace_id=cassette.trace_id, file=str(file))
        accepted = await host.run(Run(target=host.find_flow(target).target, replay=order))
        async for frame in host.frames():
            if isinstance(frame, Events):
                for event in frame.events:
                    once.add(TraceEvent.from_dict(event))
            elif isinstance(frame, Result) and frame.trace_id == accepted.trace_id:
                once.result = frame
                break
    if once.result is not None and once.result.replay is not None and once.result.replay.refused is not None:
        raise Failure(once.result.replay.refused)
    return once


async def _recorded(cassette: Cassette) -> _Once:
    once = _Once(cassette.trace_id)
    async with reading() as store:
        for event in await store.load_events(cassette.trace_id):
            once.add(event)
    return once


def _compare(one: _Once, other: _Once, what: str) -> None:
    """Raise `Failure` with the first node that gave something else away."""
    for key, sent in one.sent.items():
        also = other.sent.get(key)
        if also is not None and also.value != sent.value:
            raise _unsteady(sent, also, what)
    diverged = [once.result.replay.diverged for once in (one, other) if once.result and once.result.replay]
    if len(diverged) == 2 and diverged[0] is not None and diverged[1] is not None:
        # Requests that stopped the replay are in no event.
        before, after = (rename(each["got"], once.result.trace_id, "") for each, once in _pairs(diverged, one, other))
        if diverged[0]["path"] == diverged[1]["path"] and before != after:
            node = str(diverged[0]["path"]).partition("[")[0]
            raise _unsteady(_Sent(node, before), _Sent(node, after), "does not ask the same twice")


def _pairs(diverged: list[dict[str, Any] | None], one: _Once, other: _Once) -> list[tuple[dict[str, Any], Any]]:
    return [(each or {}, once) for each, once in zip(diverged, (one, other), strict=True)]


def _unsteady(one: _Sent, other: _Sent, what: str) -> Failure:
    return Failure(
        f"node {one.node!r} {what}: time or chance from outside the context?",
        ExitCode.DIVERGED,
        details=[many_lines(line) for line in difference(one.value, other.value).splitlines()],
        hint="take them from ctx.now() and ctx.random(), or make the call with `await ctx.record(name, fn, …)`",
    )


def _source(cassette: Cassette, name: str) -> str:
    """The text of the test."""
    when = datetime.fromtimestamp(cassette.started, UTC).strftime("%Y-%m-%d %H:%M UTC")
    asserts = [f"assert replay.status == {json.dumps(cassette.status)}"]
    if cassette.error is not None and cassette.status != "ok":
        asserts += [
            "assert replay.error is not None",
            f"assert replay.error.code == {json.dumps(str(cassette.error['code']))}",
        ]
    values = [comparable(output.payload) for output in cassette.outputs]
    literal = pformat(values, width=_WIDTH, sort_dicts=False)
    if len(values) == 1 and len(literal) <= MAX_LITERAL_CHARS:
        asserts.append(f"assert replay.values == {_indented(literal)}")
    elif values and len(literal) <= MAX_LITERAL_CHARS:
        asserts.append(f"assert sorted(replay.values, key=repr) == {_indented(pformat(sorted(values, key=repr)))}")
    lines = "\n    ".join(asserts)
    return f'''"""Replays a run of {cassette.target}, recorded {when}. Written by `pf test {cassette.trace_id[:12]}`."""

from __future__ import annotations

from penguiflow.recording.pytest_plugin import CassettePlayer
from playground.testing import load_flow


def test_{name}(penguiflow_cassette: CassettePlayer) -> None:
    flow = load_flow({json.dumps(cassette.target)}, beside=__file__)
    replay = penguiflow_cassette.replay(flow, {json.dumps(f"{name}.json")})
    {lines}
    replay.check()  # what it delivered, and that it asked the world for nothing else
'''


def _indented(literal: str) -> str:
    return literal.replace("\n", "\n    ")
