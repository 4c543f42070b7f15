"""What a transport to remote agents offers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, runtime_checkable

from penguiflow.remote.models import (
    RemoteCallRequest,
    RemoteCallResult,
    RemotePushNotificationBinding,
    RemoteStreamEvent,
    RemoteTaskEvent,
    RemoteTaskPage,
    RemoteTaskSnapshot,
    RemoteTaskState,
)

__all__ = ["RemoteTransport", "SupportsRemoteTasks"]


class RemoteTransport(Protocol):
    """Calls remote agents."""

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        """Ask, and wait for the whole answer."""
        ...

    def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        """Ask, and give the answer piece by piece."""
        ...

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        """Have the agent cancel a task."""
        ...


@runtime_checkable
class SupportsRemoteTasks(Protocol):
    """A transport that can start tasks and look after them."""

    async def send_task(self, request: RemoteCallRequest, *, blocking: bool = False) -> RemoteTaskSnapshot:
        """Start a task; with `blocking` wait for its end."""
        ...

    async def get_task(self, *, agent_url: str, task_id: str, history_length: int | None = None) -> RemoteTaskSnapshot:
        """The task as it is now."""
        ...

    async def list_tasks(
        self,
        *,
        agent_url: str,
        context_id: str | None = None,
        status: RemoteTaskState | str | None = None,
        page_size: int = 100,
        page_token: str | None = None,
        history_length: int | None = None,
        include_artifacts: bool = False,
    ) -> RemoteTaskPage:
        """Tasks of the agent, a page at a time."""
        ...

    def subscribe_task(self, *, agent_url: str, task_id: str) -> AsyncIterator[RemoteTaskEvent]:
        """What happens to a task from now on."""
        ...

    async def set_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str, config: Mapping[str, Any]
    ) -> RemotePushNotificationBinding:
        """Have the agent tell somebody of a task."""
        ...

    async def get_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str
    ) -> RemotePushNotificationBinding:
        """Whom the agent tells."""
        ...

    async def list_task_push_notification_configs(
        self, *, agent_url: str, task_id: str, page_size: int = 100, page_token: str | None = None
    ) -> list[RemotePushNotificationBinding]:
        """All whom the agent tells."""
        ...

    async def delete_task_push_notification_config(self, *, agent_url: str, task_id: str, config_id: str) -> None:
        """Have the agent tell somebody no more."""
        ...
