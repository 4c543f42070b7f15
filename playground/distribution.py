"""Which flows are distributed, and where: what the module gave to `create`, the project, and whoever starts it say."""

from __future__ import annotations

import os
from typing import Any

from penguiflow import PenguiFlow
from penguiflow.bus.opening import open_bus
from penguiflow.bus.protocol import EdgeBus, Limits
from penguiflow.channels import ROOKERY
from playground.project import BUS_VARIABLE, STORE_VARIABLE, Project
from playground.storing import open_store

__all__ = ["bus_name", "bus_of", "edges_on_bus", "own_store", "store_of"]


def bus_of(flow: PenguiFlow, project: Project) -> EdgeBus | None:
    """The bus whose edges a flow has; None for a flow that runs in one process.

    What `--bus` or `PENGUIFLOW_BUS` say comes first, then what the flow was given by `create`, then the project's
    pyproject.toml. Each call may make another one. Raises `BusError` and `ProjectError` for an address that is none.
    """
    own = flow._message_bus
    if isinstance(own, EdgeBus) and not os.environ.get(BUS_VARIABLE):
        return own
    address = project.bus_address()
    # An edge holds as many messages as it would within the process.
    return None if address is None else open_bus(address, Limits(capacity=max(0, flow._queue_maxsize)))


def store_of(flow: PenguiFlow, project: Project) -> tuple[Any, bool]:
    """Where a flow's workers keep what they share, and whether it is to be closed here.

    What `--store` or `PENGUIFLOW_STORE` say comes first, then what the flow was given by `create`, then the project's
    own store. Raises `StoreError` and `ProjectError`.
    """
    own = own_store(flow)
    return (open_store(project), True) if own is None else (own, False)


def own_store(flow: PenguiFlow) -> Any:
    """What the flow was given by `create` to keep its memory in; None where that of the project is meant."""
    return None if os.environ.get(STORE_VARIABLE) else flow._state_store


def bus_name(flow: PenguiFlow) -> str:
    """What a flow is called on its bus."""
    given = getattr(flow, "name", None)
    return str(given) if given else "+".join(str(node.name) for node in flow.ingress)


def edges_on_bus(flow: PenguiFlow) -> dict[str, tuple[str, str]]:
    """Source and target of each edge that a flow's bus has, by its name there.

    Those to Rookery are not: results go to whoever waits for them, by an edge of each caller.
    """
    return {f"{source}->{target}": (source, target) for source, target in flow.edges if target != ROOKERY.name}
