"""What clients ask of a debugger, each request with its answer. Everything is called on the loop of the runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from playground.debug_frames import DebugRequest
from playground.host.clients import Client, Hub
from playground.host.control import Load
from playground.host.debugger import Debugger
from playground.host.outbox import FRAME
from playground.host.wire import Wire
from playground.loader.inputs import InputRefused
from playground.protocol import Accepted, BaseFrame, Breakpoints, Decide, Error, Halt, encode


class Debugging:
    """The debugger of a host, as clients see it."""

    def __init__(
        self,
        order: Load,
        wire: Wire,
        *,
        changed: Callable[[], None],
        stops_changed: Callable[[], None],
        target_of: Callable[[str], str | None],
    ) -> None:
        """As `Debugger` has them."""
        self._wire = wire
        self._target_of = target_of
        self.debugger = Debugger(
            Path(order.breakpoints or order.home),
            tell=lambda frame: wire.post(lambda hub: hub.broadcast(frame), urgent=True),
            changed=changed,
            stops_changed=stops_changed,
            target_of=target_of,
            masker=wire.hub.masker,
            hold_s=order.hold_s,
        )

    def do(self, request: DebugRequest, client: Client) -> None:
        """Do what a client asks for, and answer it."""
        match request:
            case Breakpoints():
                self._attend(request, client)
            case Decide():
                self._reply(client, request, self._decide(request, client))
            case Halt():
                self._reply(client, request, self._halt(request))
            case _:
                self._reply(client, request, Error(code="unknown_frame", message=f"{request.type} is not known here"))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _attend(self, request: Breakpoints, client: Client) -> None:
        """A client decides upon stopped runs from now on, and may change the breakpoints, or only looks at them."""
        told, stopped = self.debugger.look() if request.look else self.debugger.attend(request)
        self._reply(client, request, told)
        for frame in stopped:
            self._wire.post(functools.partial(_send, client, encode(frame)), urgent=True)

    def _decide(self, request: Decide, client: Client) -> BaseFrame:
        """Let a stopped run go on."""
        try:
            if self.debugger.decide(request, client.name):
                return Accepted()
        except InputRefused as error:
            return Error(code="invalid_input", message=str(error), details=error.details)
        return Error(code="not_found", message=f"{request.stop} does not wait any more")

    def _halt(self, request: Halt) -> BaseFrame:
        """Stop a run at its next checkpoint."""
        if self._target_of(request.trace_id) is None:
            return Error(code="not_found", message=f"trace {request.trace_id} is not running, or a replay")
        self.debugger.halt(request.trace_id)
        return Accepted(trace_id=request.trace_id)

    def _reply(self, client: Client, request: BaseFrame, frame: BaseFrame) -> None:
        self._wire.post(lambda hub: client.reply(request, frame), urgent=True)


def _send(client: Client, data: bytes, hub: Hub) -> None:
    client.put(FRAME, data)
