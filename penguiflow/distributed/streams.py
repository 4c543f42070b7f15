"""How one delivery takes its place in a stream: pieces are handled one after the other, as they were sent."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic_core import from_json, to_json

from penguiflow.bus.waiting import Backoff
from penguiflow.distributed.header import Fault
from penguiflow.distributed.names import stream_scope
from penguiflow.distributed.taking import LOOK_S, MOST_LOOK_S
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.state.shared import SharedChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penguiflow.bus.protocol import Limits
    from penguiflow.distributed.handling import Handling

__all__ = ["Gap", "Place"]


class Gap:
    """Tells a piece that is late from one that nobody has any more.

    A late one may be with a worker that takes long, which shows signs of life, or have been with some that died. Each
    of those costs a lease; a piece that had as many as it may have is a dead letter, and no gap.
    """

    def __init__(self, limits: Limits) -> None:
        self.bound_s = (limits.max_deliveries + 1) * limits.lease_s
        """How long nothing may be seen of those before, in seconds of waiting."""
        self._seen: tuple[int, int] | None = None
        self._waited_s = 0.0

    def lasts(self, seen: tuple[int, int], waited_s: float) -> bool:
        """Whether it has lasted too long now, with that much more. `seen`: the next piece, its last sign of life."""
        if seen != self._seen:
            self._seen, self._waited_s = seen, 0.0
        self._waited_s += waited_s
        return self._waited_s > self.bound_s


class Place:
    """A delivery's place in the stream that its message is a piece of, if it is one."""

    def __init__(self, handling: Handling) -> None:
        self._handling = handling
        self._scope = stream_scope(handling.desk.node, handling.delivery.edge, handling.header.piece)
        self._life = f"{self._scope}:at work"

    @property
    def scopes(self) -> Sequence[str]:
        """What has to be known of the trace."""
        return (self._scope, self._life) if self._handling.header.piece else ()

    @property
    def is_early(self) -> bool:
        """Whether pieces before this one are not done."""
        header = self._handling.header
        return bool(header.piece) and self._next < header.place

    @property
    def held(self) -> bool:
        """Whether later pieces wait until this one is done."""
        return bool(self._handling.header.piece) and not self.is_early

    @property
    def _next(self) -> int:
        """The piece that is to be handled next."""
        row = self._handling.memory.rows.get(self._scope)
        return 0 if row is None else int(from_json(row.value))

    async def wait(self) -> None:
        """Wait while it is early, without a slot. Ends the trace where pieces before it do not come any more."""
        handling, loop = self._handling, asyncio.get_running_loop()
        desk = handling.desk
        backoff, gap = Backoff(LOOK_S, MOST_LOOK_S), Gap(desk.share.bus.limits)
        waited_s = 0.0
        # Once its turn has come it may have to wait for a slot: it is held by then, and shows life.
        async with desk.parked():
            while self.is_early and not handling.lost and not handling.is_settled:
                if gap.lasts((self._next, self._sign_of_life), waited_s):
                    await desk.share.end(handling.header, "error", Fault(self._error(gap)))
                    return
                pause_s, begun = backoff(), loop.time()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await desk.piece_done.wait()
                # Neither a store that is away nor a process that stood still counts: others had to wait as well.
                waited_s = min(loop.time() - begun, pause_s)
                await handling.load()

    @property
    def _sign_of_life(self) -> int:
        row = self._handling.memory.rows.get(self._life)
        return 0 if row is None else row.version

    async def show_life(self) -> None:
        """Tell whoever waits that this piece is at work."""
        put = {self._life: to_json(self._handling.header.place)}
        await self._handling.desk.share.commit(SharedChange(trace_id=self._handling.header.run, put=put))

    def pass_on(self, expect: dict[str, int], put: dict[str, bytes | None]) -> None:
        """Have a commit say that the next piece may be handled then."""
        if self._handling.header.piece:
            row = self._handling.memory.rows.get(self._scope)
            expect[self._scope] = 0 if row is None else row.version
            put[self._scope] = to_json(self._handling.header.place + 1)

    def _error(self, gap: Gap) -> FlowError:
        header, node = self._handling.header, self._handling.desk.node
        said = f"piece {header.place} has waited {gap.bound_s:g} s for it"
        return FlowError(
            trace_id=header.trace_id,
            node_name=node,
            code=FlowErrorCode.NODE_EXCEPTION,
            message=f"piece {self._next} of a stream did not come to node '{node}': {said}",
        )
