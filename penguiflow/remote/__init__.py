"""Remote agents: what a transport has to do, and a node that calls one."""

from __future__ import annotations

from penguiflow.remote.models import (
    REMOTE_TERMINAL_TASK_STATES,
    RemoteCallRequest,
    RemoteCallResult,
    RemotePushNotificationBinding,
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskEvent,
    RemoteTaskInputRequired,
    RemoteTaskPage,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
)
from penguiflow.remote.node import RemoteNode
from penguiflow.remote.protocol import RemoteTransport, SupportsRemoteTasks

__all__ = [
    "REMOTE_TERMINAL_TASK_STATES",
    "RemoteCallRequest",
    "RemoteCallResult",
    "RemoteNode",
    "RemotePushNotificationBinding",
    "RemoteStreamEvent",
    "RemoteTaskAuthRequired",
    "RemoteTaskEvent",
    "RemoteTaskInputRequired",
    "RemoteTaskPage",
    "RemoteTaskSnapshot",
    "RemoteTaskState",
    "RemoteTaskStatus",
    "RemoteTransport",
    "SupportsRemoteTasks",
]
