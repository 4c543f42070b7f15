"""What a run has made can be referred to, also after a pause and in another session's hands not at all."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

from penguiflow import InMemoryArtifactStore
from penguiflow.planner import PlannerPause
from penguiflow.planner.artifact_registry import (
    ArtifactRegistry,
    get_artifact_registry,
    has_artifact_refs,
    resolve_artifact_refs,
    resolve_artifact_refs_async,
)


class Number(BaseModel):
    n: int


class Charts(BaseModel):
    title: str
    charts: list[dict[str, Any]] = Field(json_schema_extra={"artifact": True})


async def draw(args: Number, ctx: Any) -> Charts:
    await ctx.artifacts.upload("a,b", filename="data.csv", mime_type="text/csv")
    return Charts(title="sales", charts=[{"component": "echarts", "props": {"n": 1}}, {"data": [2]}])


async def wait(args: Number, ctx: Any) -> Number:
    await ctx.pause("await_input")
    return args


async def test_tools_find_what_was_made_before_them(kit: Any) -> None:
    found: dict[str, Any] = {}

    async def look(args: Number, ctx: Any) -> Number:
        registry = get_artifact_registry(ctx)
        assert registry is not None
        found["listed"] = [record["ref"] for record in registry.list_records()]
        found["components"] = registry.list_records(kind="ui_component", source_tool="draw", limit=5)
        value = {"a": [{"artifact_ref": "artifact_1"}], "b": {"artifact_ref": found["listed"][-1]}}
        assert has_artifact_refs(value)
        about: dict[str, Any] = {"registry": registry, "trajectory": ctx._run.trajectory, "session_id": "s"}
        found["value"] = resolve_artifact_refs(value, **about)
        found["whole"] = await resolve_artifact_refs_async(value, artifact_store=store, **about)
        with pytest.raises(ValueError, match="no artifact 'nothing'"):
            resolve_artifact_refs({"artifact_ref": "nothing"}, **about)
        with pytest.raises(ValueError, match="no artifact"):
            resolve_artifact_refs(value, **{**about, "session_id": "another"})
        return args

    store = InMemoryArtifactStore()
    script = [kit.call("draw", n=1), kit.call("wait", n=1), kit.call("look", n=1), kit.answer("x")]
    planner = kit.planner_of(draw, wait, look, script=script, artifact_store=store)
    pause = await planner.run("x", tool_context={"session_id": "s"})
    assert isinstance(pause, PlannerPause)
    finish = await planner.resume(pause.resume_token, "go on", tool_context={"session_id": "s"})

    assert finish.metadata["steps"][-1]["error"] is None
    [ref] = await store.list()
    assert found["listed"] == ["artifact_1", "artifact_0", ref.id]
    assert [record["component"] for record in found["components"]] == ["echarts"]
    assert found["value"]["a"] == [{"data": [2]}]
    assert found["value"]["b"]["mime_type"] == "text/csv"
    assert found["whole"]["b"]["text"] == "a,b"


def test_what_the_program_brings_is_known_too() -> None:
    registry = ArtifactRegistry()
    registry.ingest_llm_context({"artifacts": [{"ref": "r", "title": "t"}, {"artifact_id": "i"}, 3]})
    registry.ingest_background_results({"task_id": "x", "artifacts": [{"component": "table", "title": "u"}]})

    assert [record["kind"] for record in registry.list_records()] == ["ui_component", "binary", "tool_artifact"]
    again = ArtifactRegistry.from_snapshot(registry.snapshot())
    assert again.list_records() == registry.list_records()
    assert again.resolve_ref("r") == {"ref": "r", "title": "t"}
    assert not has_artifact_refs({"a": 1})
    assert get_artifact_registry(object()) is None
