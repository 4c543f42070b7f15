"""Which invocation the running code belongs to, where somebody asked to be able to know."""

from __future__ import annotations

from contextvars import Context as Variables
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penguiflow.context import Context

__all__ = ["CURRENT", "Current"]


class Current:
    """Finds the invocation from within what it calls: other tasks and `asyncio.to_thread` included."""

    def __init__(self) -> None:
        self.wanted = False
        """Whether recorded invocations can be found; costs each of them the setting of a context variable."""
        self._invocation: ContextVar[Context | None] = ContextVar("penguiflow_invocation", default=None)

    def enter(self, variables: Variables, context: Context) -> None:
        """What runs with these context variables is this invocation."""
        variables.run(self._invocation.set, context)

    def get(self) -> Context | None:
        """The invocation that the caller is part of; its trace may be over."""
        return self._invocation.get()


CURRENT = Current()
"""Of this process."""
