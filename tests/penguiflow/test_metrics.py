"""The event that middlewares see, in its forms."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from penguiflow import FlowEvent
from penguiflow.metrics import StoredEvent


def event(**changes: Any) -> FlowEvent:
    fields: dict[str, Any] = {
        "event_type": "node_success",
        "ts": 12.5,
        "node_name": "n",
        "node_id": "id",
        "trace_id": "t",
        "attempt": 1,
        "latency_ms": 3.5,
        "queue_depth_in": 2,
        "queue_depth_out": 3,
        "outgoing_edges": 1,
        "queue_maxsize": 64,
        "trace_pending": 4,
        "trace_inflight": 1,
        "trace_cancelled": False,
    }
    return FlowEvent(**{**fields, **changes})


def test_the_payload() -> None:
    payload = {
        "ts": 12.5,
        "event": "node_success",
        "node_name": "n",
        "node_id": "id",
        "trace_id": "t",
        "latency_ms": 3.5,
        "q_depth_in": 2,
        "q_depth_out": 3,
        "q_depth_total": 5,
        "outgoing": 1,
        "queue_maxsize": 64,
        "attempt": 1,
        "trace_inflight": 1,
        "trace_cancelled": False,
        "trace_pending": 4,
    }
    assert event().to_payload() == payload
    assert event(extra={"sleep_s": 1, "attempt": 9}).to_payload() == {**payload, "sleep_s": 1, "attempt": 9}
    assert "trace_pending" not in event(trace_pending=None).to_payload()


def test_the_metric_samples() -> None:
    samples = {
        "queue_depth_in": 2.0,
        "queue_depth_out": 3.0,
        "queue_depth_total": 5.0,
        "attempt": 1.0,
        "trace_inflight": 1.0,
        "trace_cancelled": 0.0,
        "trace_pending": 4.0,
        "latency_ms": 3.5,
    }
    assert event().metric_samples() == samples
    assert event(trace_cancelled=True).metric_samples()["trace_cancelled"] == 1.0
    assert event(extra={"latency_ms": 7}).metric_samples()["latency_ms"] == 7.0
    bare = event(latency_ms=None, trace_pending=None).metric_samples()
    assert samples.keys() - bare.keys() == {"latency_ms", "trace_pending"}


def test_the_tags_are_text() -> None:
    tags = event(extra={"sleep_s": 0.5, "exception": "E", "nested": {"a": 1}}).tag_values()
    assert tags == {
        "event_type": "node_success",
        "node_name": "n",
        "node_id": "id",
        "trace_id": "t",
        "sleep_s": "0.5",
        "exception": "E",
    }
    assert event(node_name=None, node_id=None, trace_id=None).tag_values() == {"event_type": "node_success"}


def test_an_event_cannot_be_changed() -> None:
    extra = {"flow_error": {"code": "C"}}
    fixed = event(extra=extra)
    extra["more"] = {}
    assert "more" not in fixed.extra
    with pytest.raises(TypeError):
        fixed.extra["more"] = 1  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        fixed.ts = 0.0  # type: ignore[misc]
    assert fixed.error_payload == {"code": "C"}
    with pytest.raises(TypeError):
        fixed.error_payload["code"] = "D"  # type: ignore[index]
    assert event().error_payload is None
    assert fixed.queue_depth == 5


def test_the_stored_form_keeps_everything() -> None:
    stored = StoredEvent.from_flow_event(event(extra={"sleep_s": 1}))
    assert (stored.kind, stored.ts, stored.trace_id) == ("node_success", 12.5, "t")
    assert (stored.node_name, stored.node_id) == ("n", "id")
    assert stored.payload == event(extra={"sleep_s": 1}).to_payload()
