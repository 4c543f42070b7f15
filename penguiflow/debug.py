"""Events in a form that is easy to print and to search."""

from __future__ import annotations

from typing import Any

from penguiflow.metrics import FlowEvent

__all__ = ["format_flow_event"]


def format_flow_event(event: FlowEvent) -> dict[str, Any]:
    """The event's payload; an error behind it as `flow_error`, and once more flat: `flow_error_code` and so on."""
    payload = event.to_payload()
    error = event.error_payload
    if error is not None:
        payload["flow_error"] = dict(error)
        payload.update({f"flow_error_{key}": value for key, value in error.items()})
    return payload
