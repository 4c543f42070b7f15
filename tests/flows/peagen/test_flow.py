"""The run as a flow: files are nodes, prompts and answers are calls, and it is there to be looked at afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from peagen.core.payload import load_projects_payload
from peagen.flow import Request, Summary, flow, make_flow, registry
from peagen.run import ProcessOptions, process
from penguiflow import Headers, Message
from penguiflow.state import SQLiteStateStore

EXAMPLE = Path(__file__).parents[3] / "flows/peagen/peagen/template_sets/pythonpkg/example.payload.yaml"


async def test_the_sample_needs_no_key(tmp_path: Path) -> None:
    made = make_flow()
    made.run(registry=registry)
    try:
        for expected in ("created", "unchanged"):
            request = Request(example="pythonpkg", worktree=str(tmp_path / "out"), workers=2)
            answer = await made.call(Message(payload=request, headers=Headers(tenant="test")))
            summary = answer.payload
            assert isinstance(summary, Summary)
            assert (list(summary.counts), summary.problems) == ([expected], [])
    finally:
        await made.stop()
    assert [node.name for node in flow.nodes] == ["plan", "work", "report"]


async def test_a_run_is_recorded_with_a_node_for_each_file(tmp_path: Path) -> None:
    database = tmp_path / "runs.sqlite"
    options = ProcessOptions(worktree=tmp_path / "out", provider="scripted", workers=4, record=database)

    report = await process(load_projects_payload(EXAMPLE), options)

    assert report.trace_id is not None
    store = SQLiteStateStore(database)
    try:
        events = await store.load_events(report.trace_id)
        trace = await store.get_trace(report.trace_id)
    finally:
        await store.close()
    assert trace is not None
    assert trace.flow == "peagen"
    said = json.loads(trace.output or "")
    assert report.calls > 0
    assert [said[name] for name in ("calls", "input_tokens", "output_tokens", "cost")] == [
        report.calls, report.input_tokens, report.output_tokens, report.cost
    ]  # fmt: skip
    started = {event.name for event in events if event.kind == "node.start"}
    assert {result.name for result in report.results} <= started
    parents = {event.span_id: event.parent_id for event in events if event.kind.endswith(".start")}
    names = {event.span_id: event.name for event in events if event.kind == "node.start"}
    asked = []
    for event in events:
        if event.kind == "llm.start":
            span: str | None = event.span_id
            while span is not None and span not in names:
                span = parents[span]
            assert span is not None
            asked.append(names[span])
    assert sorted(asked) == sorted(result.name for result in report.results if result.asked)
