"""A place in a run from which calls are made: an invocation's attempt, or a span inside it.

What runs within a node and has parts of its own (a planner, its steps, a tool) opens a span for each part and makes the
calls of the part from there. Without a record everything is done as it is, and nothing is written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from random import Random
from time import time
from typing import TYPE_CHECKING, Any

from penguiflow.calls import Scope, call_now, call_out, chance, has_answer, scope_of

if TYPE_CHECKING:
    from penguiflow.context import Context

__all__ = ["CallSite", "node_part", "node_path"]


def node_part(context: Context) -> str:
    """How an invocation stands in a path: its node, and the message that it handles."""
    return f"node:{context._port.name}[{context._item[4]}]"


def node_path(context: Context) -> tuple[str, ...]:
    """Where every path in an invocation begins: its node and the message that it handles, below a playbook's call."""
    runtime = context.runtime
    around = () if runtime is None else runtime._called_from
    return (*around, node_part(context))


class CallSite:
    """Where calls are made from. `CallSite.of(ctx)` is the attempt under way; `CallSite()` is nowhere."""

    __slots__ = ("_name", "_outer", "_parent", "context", "kind", "scope")

    def __init__(
        self,
        context: Context | None = None,
        scope: Scope | None = None,
        *,
        kind: str = "",
        name: str = "",
        parent: str = "",
        outer: CallSite | None = None,
    ) -> None:
        self.context = context
        """The invocation that it belongs to; None outside of a flow."""
        self.scope = scope
        """None where nothing is recorded."""
        self.kind = kind
        """Of its span; empty for one that it did not open."""
        self._name = name
        self._parent = parent
        self._outer = outer

    @classmethod
    def of(cls, context: Context | None) -> CallSite:
        """The attempt of a node that is under way."""
        if context is None or context._trace is None or context._trace.log is None:
            return cls(context)
        return cls(context, scope_of(context, context._trace.log))

    @property
    def recorded(self) -> bool:
        """Whether there is a log."""
        return self.scope is not None

    @property
    def store(self) -> Any:
        """The store that it is recorded in; None without one."""
        runtime = None if self.context is None or not self.recorded else self.context.runtime
        return None if runtime is None else getattr(runtime._table.recorder, "store", None)

    @property
    def trace_id(self) -> str | None:
        """The trace; None without one."""
        return None if self.context is None else self.context.trace_id

    @property
    def span(self) -> str:
        """The id of its span; empty when it is not recorded."""
        return "" if self.scope is None else self.scope.span

    @property
    def path(self) -> tuple[str, ...]:
        """The parts of the run that it stands in, as a `Checkpoint` has them; empty outside of a flow."""
        if self._outer is not None and self._outer.scope is not None and self.scope is not None:
            return (*self._outer.path, f"{self.kind or 'call'}:{self.scope.place[len(self._outer.scope.place) + 1 :]}")
        return () if self.context is None else node_path(self.context)

    def open(
        self, kind: str, name: str, data: Mapping[str, Any] | None = None, *, ordinal: int | None = None
    ) -> CallSite:
        """Open a span inside this one. Its `ordinal` counts those of its name; parallel parts say it themselves."""
        log = self._log()
        if log is None or self.scope is None:
            return self
        # In a path a join is told from what it calls, and from its node.
        step = f"join.{name}" if kind == "join" else name
        number = self.scope.count(step) if ordinal is None else ordinal
        span = log.start(kind, name, self.scope.span, {"ordinal": number, **(data or {})})
        scope = self.scope.within(step, number, span)
        return CallSite(self.context, scope, kind=kind, name=name, parent=self.scope.span, outer=self)

    def close(self, status: str = "ok", data: Mapping[str, Any] | None = None) -> None:
        """Close the span that `open` opened: ok, error, timeout, cancelled or interrupted."""
        log = self._log()
        if log is not None and self.scope is not None and self.kind:
            log.end(self.kind, self._name, self.scope.span, self._parent, status, data)

    def event(self, kind: str, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Write one event of the span."""
        log = self._log()
        if log is not None and self.scope is not None:
            log.event(kind, name, self.scope.span, data)

    def describe(self, error: BaseException) -> Mapping[str, Any]:
        """What an event says of an exception: `{type, message, …}`."""
        log = self._log()
        return {"type": type(error).__name__, "message": str(error)} if log is None else log.describe(error)

    async def call(
        self,
        kind: str,
        name: str,
        request: Any,
        perform: Callable[..., Any],
        *args: Any,
        inside: Callable[[CallSite], None] | None = None,
        about: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> Any:
        """`perform(*args)` as a call that is recorded, and answered from a recording: see `call_out`.

        `inside` is told the site within the call; it is not told where nothing is recorded.
        """
        if self.context is None or self.scope is None:
            made = perform(*args)
            return await made if inspect.isawaitable(made) else made
        context, tell = self.context, None
        if inside is not None:

            def tell(scope: Scope) -> None:
                inside(CallSite(context, scope, outer=self))

        return await call_out(context, kind, name, request, perform, *args, scope=self.scope, inside=tell, about=about)

    async def consult(
        self,
        name: str,
        request: Any,
        ask: Callable[[], Any] | None,
        about: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> Any:
        """What somebody outside decided here: from the recording if it is there, else `ask()`; None without both.

        Recorded as `checkpoint.resolved`, with what `about` says, where somebody was asked. A replay asks nobody.
        """
        if self.context is not None and self.scope is not None:
            if has_answer(self.context, "checkpoint", name, request, self.scope):
                ask = _nobody
            elif self.context._trace is not None and self.context._trace.tape is not None:
                ask = ask if self.context._trace.tape.live else None
        if ask is None:
            return None
        return await self.call("checkpoint", name, request, ask, about=about)

    async def aside(self, name: str, perform: Callable[[], Any] | None) -> None:
        """Do what nothing depends on that comes later, if there is anything to do. It is recorded as a call.

        A replay does not do it, and does not mind whether there was anything to do when it was recorded.
        """
        if self.context is not None and self.scope is not None:
            if has_answer(self.context, "record", name, [], self.scope):
                perform = _nobody
            elif self.context._trace is not None and self.context._trace.tape is not None:
                perform = perform if self.context._trace.tape.live else None
        if perform is not None:
            await self.call("record", name, [], perform)

    def now(self) -> float:
        """Unix seconds; a replay sees the recorded ones."""
        if self.context is None or self.scope is None:
            return time()
        seconds: float = call_now(self.context, "ctx.now", time, self.scope)
        return seconds

    def random(self) -> Random:
        """The generator of this place; in a replay it draws the same numbers."""
        return Random() if self.context is None or self.scope is None else chance(self.context, self.scope)

    def _log(self) -> Any:
        trace = None if self.context is None else self.context._trace
        return None if trace is None else trace.log


def _nobody() -> None:
    """The answer is in the recording."""
