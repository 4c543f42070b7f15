"""Events in a form that is easy to search."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, create, format_flow_event

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, Start


async def test_an_error_is_found_by_its_parts(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog
) -> None:
    async def fails(message: Any, ctx: Context) -> None:
        raise ValueError("no luck")

    flow = start(create(make_node(fails).to(), middlewares=[event_log]))
    with pytest.raises(FlowError) as failure:
        await flow.call(make_message(1, trace_id="t"))
    begun, (failed,) = event_log.of_type("node_start"), event_log.of_type("node_failed")
    plain = format_flow_event(begun[0])
    assert plain == begun[0].to_payload()
    assert not [key for key in plain if key.startswith("flow_error")]
    payload = format_flow_event(failed)
    assert payload["flow_error"] == failure.value.to_payload()
    assert (payload["flow_error_code"], payload["flow_error_trace_id"]) == ("NODE_EXCEPTION", "t")
    assert {f"flow_error_{key}" for key in failure.value.to_payload()} <= set(payload)
    assert json.loads(json.dumps(payload))["event"] == "node_failed"
    # The event itself is not touched.
    assert "flow_error_code" not in failed.extra
