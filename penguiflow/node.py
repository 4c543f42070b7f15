"""A node: an async function with a name and a policy."""

from __future__ import annotations

import functools
import inspect
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any

from penguiflow.failures import NodeTimeout
from penguiflow.ids import new_id

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.registry import ModelRegistry

__all__ = ["Node", "NodePolicy"]

MAX_BACKOFF_S = 86_400.0
"""Longest wait before a retry where the policy names none, in seconds."""
_VALIDATE_MODES = frozenset({"both", "in", "out", "none"})


class _Unsaid(int):
    """A number that nobody gave."""


_UNSAID = _Unsaid(1)


@dataclass(slots=True)
class NodePolicy:
    """How a node is validated, bounded in time, retried and run in parallel."""

    validate: str = "both"
    """Which side is checked against the registry: `both`, `in`, `out` or `none`."""
    timeout_s: float | None = None
    """Bound on one attempt, in seconds; None or infinity for none."""
    max_retries: int = 0
    """Attempts after the first; none for a number below 0."""
    backoff_base: float = 0.5
    """Seconds before the first retry."""
    backoff_mult: float = 2.0
    """Each further wait is this much longer."""
    max_backoff: float | None = None
    """Longest wait, in seconds; None or infinity for a day."""
    max_concurrency: int = _UNSAID
    """How many messages the node handles at once; 1 by default.

    Of a planner's tool: how many of its calls in a plan are made at once; all of them by default.
    """
    jitter: float = 0.0
    """Each wait before a retry is up to this fraction shorter or longer, by chance (0 to 1)."""
    retry_on: tuple[type[BaseException], ...] | None = None
    """Which exceptions are worth another attempt (a `TimeoutError` stands for the policy's own); None: all."""

    @property
    def at_once(self) -> int | None:
        """`max_concurrency` where somebody gave it."""
        return None if isinstance(self.max_concurrency, _Unsaid) else self.max_concurrency

    def __post_init__(self) -> None:
        if self.validate not in _VALIDATE_MODES:
            raise ValueError("validate must be one of 'both', 'in', 'out', 'none'")
        if self.max_concurrency < 1:
            raise ValueError("max_concurrency must be at least 1")
        for name in ("timeout_s", "backoff_base", "backoff_mult", "max_backoff"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be a number that is not negative")
            if value == math.inf and name.startswith("backoff"):
                raise ValueError(f"{name} must be finite")
        if not 0.0 <= self.jitter <= 1.0:
            raise ValueError("jitter must be between 0 and 1")

    def backoff(self, attempt: int) -> float:
        """Seconds to wait before attempt number `attempt` (1 is the first retry)."""
        longest = MAX_BACKOFF_S if self.max_backoff in (None, math.inf) else self.max_backoff
        try:
            delay = min(self.backoff_base * self.backoff_mult ** (attempt - 1), longest)
        except OverflowError:
            delay = longest
        return delay * random.uniform(1 - self.jitter, 1 + self.jitter) if self.jitter else delay

    def retries(self, failure: BaseException) -> bool:
        """Whether a failure of this kind is worth another attempt."""
        if isinstance(failure, NodeTimeout):
            failure = TimeoutError()
        return self.retry_on is None or isinstance(failure, self.retry_on)


def _name_of(func: Callable[..., Any]) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    return str(getattr(func, "__name__", type(func).__name__))


def _plainly_takes_two(func: Any) -> bool:
    """Whether it is a plain function of two positional parameters, told without `inspect.signature`, which is slow."""
    if type(func) is not FunctionType or func.__dict__:
        return False
    code = func.__code__
    variable = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return code.co_argcount == 2 and not code.co_kwonlyargcount and not variable


@dataclass(eq=False)
class Node:
    """An async function `(message, ctx) -> result` that a flow can run."""

    func: Callable[..., Awaitable[Any]] = field(repr=False)
    name: str | None = None
    policy: NodePolicy = field(default_factory=NodePolicy, repr=False)
    allow_cycle: bool = field(default=False, repr=False)
    """Whether an edge from the node to itself is meant."""
    node_id: str = field(init=False, default_factory=new_id)

    def __post_init__(self) -> None:
        if not inspect.iscoroutinefunction(self.func):
            shown = getattr(self.func, "__qualname__", repr(self.func))
            raise TypeError(f"Node function must be declared with async def: {shown} is not")
        if self.name is None:
            self.name = _name_of(self.func)
        if _plainly_takes_two(self.func):
            return
        parameters = list(inspect.signature(self.func).parameters.values())
        if len(parameters) != 2:
            raise ValueError(
                f"Node '{self.name}' must accept exactly two parameters (message, ctx); got {len(parameters)}"
            )
        if parameters[1].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            raise ValueError("Context parameter must be positional")

    async def invoke(self, message: Any, ctx: Context, *, registry: ModelRegistry | None) -> Any:
        """Call the function once, validating on the way in and out as the policy says.

        A `Message` for a node registered with another model is unwrapped, its result wrapped again.
        """
        from penguiflow.validation import NodeValidators

        validators = NodeValidators(self, registry)
        value, envelope = validators.prepare(message)
        return validators.finish(await self.func(value, ctx), envelope)

    def to(self, *nodes: Node) -> tuple[Node, tuple[Node, ...]]:
        """An adjacency for `create`: this node and its successors."""
        return self, nodes

    def __hash__(self) -> int:
        return hash(self.node_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and other.node_id == self.node_id
