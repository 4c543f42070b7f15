"""What a state store keeps of a run besides its trace, before anybody gets the result: trajectory and events."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penguiflow.traces import TraceCancelled

if TYPE_CHECKING:
    from penguiflow.planner.run import PlannerRun

__all__ = ["PERSIST_TIMEOUT_S", "persist"]

logger = logging.getLogger("penguiflow.planner")

PERSIST_TIMEOUT_S = 30.0
"""For all of it: a store that hangs shall not hold up the answer."""


async def persist(run: PlannerRun) -> None:
    """Give the store the run's trajectory and its events, in order. Fails only in the log.

    A store that does not take them, and a run without a trace id, are left as they are. A replay writes nothing, and
    is the same with another store and without one.
    """
    store: Any = run.settings.state_store
    trace_id = run.trace_id
    events = run.events.kept or []
    takes_events = bool(events) and callable(getattr(store, "save_planner_event", None))
    takes_trajectory = callable(getattr(store, "save_trajectory", None))
    wanted = trace_id is not None and (takes_events or takes_trajectory)

    async def save() -> dict[str, Any]:
        async with asyncio.timeout(PERSIST_TIMEOUT_S):
            if takes_trajectory:
                # Without live objects: a store in memory would keep them for as long as itself.
                kept = replace(run.trajectory, tool_context=run.request.tool_context)
                await store.save_trajectory(trace_id, run.session_id or "", kept)
            if takes_events:
                for event in events:
                    await store.save_planner_event(trace_id, event)
        return {"steps": len(run.trajectory.steps), "events": len(events) if takes_events else 0}

    try:
        await run.site.aside("planner.persist", save if wanted else None)
    except TraceCancelled:
        raise
    except Exception:  # whatever a store raises: the run is over, and its result is good
        logger.exception("planner_run_not_kept", extra={"event": "planner_run_not_kept", "trace_id": trace_id})
