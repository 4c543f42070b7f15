"""What the contract's state stores keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penguiflow.metrics import StoredEvent

__all__ = ["GLOBAL_TRACE", "RemoteBinding", "StoredEvent"]

GLOBAL_TRACE = "__global__"
"""Trace id under which events without one are kept."""


@dataclass(slots=True)
class RemoteBinding:
    """Which task of which remote agent works for a trace."""

    trace_id: str
    context_id: str | None
    task_id: str
    agent_url: str
    router_session_id: str | None = None
    remote_skill: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    last_remote_task_id: str | None = None
    is_terminal: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
