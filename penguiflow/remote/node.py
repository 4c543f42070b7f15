"""A node whose work a remote agent does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penguiflow.node import Node, NodePolicy
from penguiflow.remote.call import RemoteCall
from penguiflow.remote.protocol import RemoteTransport
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.context import Context

__all__ = ["RemoteNode"]


def RemoteNode(  # noqa: N802 - a factory under the name that the contract fixes
    *,
    transport: RemoteTransport,
    skill: str,
    agent_url: str,
    name: str,
    agent_card: Mapping[str, Any] | None = None,
    policy: NodePolicy | None = None,
    streaming: bool = False,
    record_binding: bool = True,
) -> Node:
    """A node that sends its message to an agent and returns the answer, bare.

    With `streaming` the pieces of the answer are emitted as chunks, and the last `result` is returned. When the trace
    is cancelled, or the invocation is (a timeout, the flow's stop), the remote task is cancelled too, once. With
    `record_binding` the remote task is noted in the flow's state store when its id is known.

    The node raises `TypeError` for what is no `Message`, and whatever the transport raises.
    """
    node_policy = NodePolicy() if policy is None else policy

    async def call_remote(message: Any, ctx: Context) -> Any:
        if not isinstance(message, Message):
            # Registered for a payload's model: the envelope is still there.
            envelope = getattr(ctx, "message", None)
            if not isinstance(envelope, Message):
                raise TypeError("Remote nodes require penguiflow.types.Message inputs")
            message = envelope.model_copy(update={"payload": message})
        call = RemoteCall(
            transport=transport,
            node=node,
            ctx=ctx,
            message=message,
            skill=skill,
            agent_url=agent_url,
            agent_card=agent_card,
            streaming=streaming,
            record_binding=record_binding,
        )
        return await call.run()

    node = Node(call_remote, name=name, policy=node_policy)
    return node
