"""One process, one runtime, one workload of the planner's benchmark."""

from __future__ import annotations

from benchmarks.runtime import child
from benchmarks.runtime.child import Suite

__all__ = ["PLANNER", "main"]

PLANNER = Suite(
    "benchmarks.planner",
    {
        "ours": [("on_penguiflow", "WORKLOADS"), ("on_scripted", "WORKLOADS")],
        "forerunner": [("on_penguiflow", "WORKLOADS")],
        "pydantic_ai": [("peers.on_pydantic_ai", "WORKLOADS")],
        "langgraph": [("peers.on_langgraph", "WORKLOADS")],
    },
)


def main() -> None:
    """List the workloads of a runtime, or measure one: `RUNTIME [WORKLOAD SECONDS]`."""
    child.main(PLANNER)
