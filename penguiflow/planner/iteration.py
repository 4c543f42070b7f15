"""A run that somebody goes through step by step."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penguiflow.planner.driving import LiveParts
from penguiflow.planner.outcomes import PlannerFinish, PlannerPause

if TYPE_CHECKING:
    from penguiflow.planner.memory.editing import RunMemoryEditor
    from penguiflow.planner.react import ReactPlanner
    from penguiflow.planner.requests import PlannerRequest
    from penguiflow.planner.run import PlannerRun, RunStep
    from penguiflow.planner.trajectory import Trajectory

__all__ = ["PlannerIteration"]


class PlannerIteration:
    """`async with planner.iter(query) as run: async for step in run: …`.

    The run does nothing between two steps: what is changed there holds for the next one. Who leaves the block early
    cancels the run.
    """

    def __init__(self, planner: ReactPlanner, request: PlannerRequest, live: LiveParts, ctx: Any) -> None:
        self._planner = planner
        self._request = request
        self._live = live
        self._ctx = ctx
        self._run: PlannerRun | None = None
        self._task: asyncio.Task[Any] | None = None
        self._made: asyncio.Queue[RunStep] = asyncio.Queue(1)
        self._may_go = asyncio.Event()
        self._opened = asyncio.Event()
        self._over = False
        self._cancelled = False
        self.result: PlannerFinish | PlannerPause | None = None
        """What the run came to; None until its last step."""

    @property
    def run(self) -> PlannerRun:
        """The run itself."""
        if self._run is None:
            raise RuntimeError("the run has not begun: use `async with planner.iter(…) as run`")
        return self._run

    @property
    def trajectory(self) -> Trajectory:
        """What it has done so far."""
        return self.run.trajectory

    @property
    def memory(self) -> RunMemoryEditor | None:
        """The memory of its conversation, to be read and changed; None without one. The next prompt has the change."""
        memory = self.run.memory
        return None if memory is None else memory.editor(self.run)

    def edit_context(self, **values: Any) -> None:
        """Change `llm_context` from the next step on; None removes a key. Raises `TypeError` for what is no JSON."""
        self.run.edit_context(**values)

    async def cancel(self, reason: str = "cancelled by the caller") -> None:
        """End the run, with the tools that it has called; there are no further steps."""
        self._cancelled = True
        trace = None if self._run is None or self._run.site.context is None else self._run.site.context._trace
        if self._task is None or self._task.done():
            return
        if trace is not None and self._ctx is None and self._run is not None and self._run.site.context is not None:
            self._run.site.context._flow()._cancel(trace, reason)
        else:
            self._task.cancel(reason)
        await asyncio.wait([self._task])
        self._over = True

    async def __aenter__(self) -> Self:
        self._live.opened = self._on_opened
        self._live.before_step = self._permission
        self._live.on_step = self._made.put
        self._task = asyncio.create_task(self._driven(), name="penguiflow:planner")
        opened = asyncio.ensure_future(self._opened.wait())
        try:
            await asyncio.wait([self._task, opened], return_when=asyncio.FIRST_COMPLETED)
            if not self._opened.is_set():
                await self._task  # raises why it could not begin
        except BaseException:
            await self._leave()
            raise
        finally:
            opened.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunStep:
        if self._over or self._task is None:
            raise StopAsyncIteration
        self._may_go.set()
        made = asyncio.ensure_future(self._made.get())
        try:
            await asyncio.wait([self._task, made], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not made.done():
                made.cancel()
        if not made.done():
            await self._ended()
            raise StopAsyncIteration
        step = made.result()
        if step.result is not None:
            await self._ended()
            if self.result is not None and step.result is not self.result:
                step = replace(step, result=self.result)
        return step

    async def _ended(self) -> None:
        """Wait for the end of the run. Raises what it raised, unless it was cancelled by `cancel`."""
        assert self._task is not None
        self._over = True
        await asyncio.wait([self._task])
        if self._cancelled:
            return
        self.result = await self._task

    async def _leave(self) -> None:
        self._over = True
        task = self._task
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it was raised, or nobody wants to know

    async def _driven(self) -> Any:
        return await self._planner._driven(self._request, self._live, self._ctx)

    def _on_opened(self, run: PlannerRun) -> None:
        self._run = run
        self._opened.set()

    async def _permission(self) -> None:
        await self._may_go.wait()
        self._may_go.clear()
