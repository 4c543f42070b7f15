"""Where a run can be stopped and decided upon.

At each checkpoint the runtime awaits the interceptors, one after the other, and does what they decide. Breakpoints,
stepping, human approval, guardrails and fault injection in tests are all interceptors. With none installed the price
is one look at an empty list.

| kind | payload | `edit` | `skip` | `retry` |
| --- | --- | --- | --- | --- |
| `before_node` | what the function is about to get | another input | a result instead of the call | proceeds |
| `after_node` | what it returned | another result | the same as `edit` | calls it again |
| `on_error` | the exception | calls it again with another input | a result instead of the error | calls it again |

Calls of models have `before_llm`, planners more: see `penguiflow.planner.checkpoints`.

An input that is given here is checked as a message's is, and a `Message` is unwrapped for a node that takes payloads:
its headers and meta go on with the result, in the trace that waits for it. A result is checked as the function's own,
and a `Message` goes into the trace that it names. What does not fit fails the node at once, with what is wrong.

`on_error` is asked about all that fails an attempt: what the function raises, also a `SystemExit` or a stray
`CancelledError`; a `TimeoutError` when the policy's time is over; pydantic's `ValidationError` for an input or a
result. It is not asked about cancellations and deadlines.

`inject` sends one more message to the node's successors and then proceeds; `abort` cancels the trace.

`Checkpoint.place` says what fits there, and what is around: see `Place`. An interceptor that has a method
`wants(checkpoint)` is asked only where that says so. A flow that a node calls as a playbook asks those of its caller
too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

__all__ = [
    "Action",
    "Checkpoint",
    "CheckpointKind",
    "Decision",
    "Interceptor",
    "Part",
    "Place",
    "Unfit",
    "decide",
    "wanted",
]

Action = Literal["proceed", "edit", "skip", "inject", "retry", "abort"]

CheckpointKind = Literal[
    "before_node",
    "after_node",
    "before_llm",
    "after_decision",
    "before_tool",
    "after_tool",
    "before_join",
    "before_finish",
    "on_error",
]


class Unfit(ValueError):
    """What was given does not fit. `details`: JSON Pointers into it, each with what is wrong there."""

    def __init__(self, details: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer or '/'}: {text}" for pointer, text in details))
        self.details = tuple(details)


class Part(NamedTuple):
    """Something around a checkpoint that can be looked at, and changed."""

    value: Any
    schema: Mapping[str, Any] | None = None
    """JSON Schema; None when any object goes."""
    why_not: str | None = None
    """Why it cannot be changed."""


class Place(Protocol):
    """What can be decided at a checkpoint, and what is around it: for whoever shows that to people."""

    @property
    def actions(self) -> Sequence[Action]:
        """What can be decided here."""
        ...

    @property
    def editable(self) -> str:
        """Where in the payload (as it is shown) that is what `edit` replaces, as a JSON Pointer."""
        ...

    def shown(self) -> Any:
        """The payload as it is to be shown."""
        ...

    def schema(self, action: Literal["edit", "skip"]) -> dict[str, Any] | None:
        """JSON Schema of what a decision takes; None when anything goes, or nobody knows."""
        ...

    def checked(self, action: Action, value: Any) -> Any:
        """What a `Decision` is to have, made of JSON. Raises `Unfit`."""
        ...

    def parts(self) -> Mapping[str, Part]:
        """What is around it: `headers`, `meta`, `llm_context`, `tool_context`."""
        ...

    def change(self, part: str, value: Any, by: str) -> Any:
        """Change a part, at once, and write it into the log; gives the new payload where it was a part of that.

        None where the payload is the same. Raises `Unfit`.
        """
        ...

    def memory(self) -> Any:
        """The editor of the memory that the run has (`penguiflow.planner.memory.RunMemoryEditor`), or None."""
        ...

    def kv(self) -> Any:
        """Whose values the tools of the run keep, and where (`penguiflow.planner.tool_kv.RunKV`), or None."""
        ...


class Checkpoint(NamedTuple):
    """Where the run stands."""

    kind: CheckpointKind
    trace_id: str | None
    span_id: str
    """Empty when the run is not recorded."""
    name: str
    """The node or tool."""
    payload: Any
    """The live value."""
    path: tuple[str, ...] = ()
    """The parts of the run around it, as `kind:name[ordinal]`, the node first. What is inside begins with them."""
    place: Place | None = None
    """What can be decided here, and what is around it."""


class Decision:
    """What to do at a checkpoint: `Decision.proceed`, `.edit(x)`, `.skip(x)`, `.inject(x)`, `.retry`, `.abort(why)`."""

    __slots__ = ("action", "by", "value")

    proceed: ClassVar[Decision]
    retry: ClassVar[Decision]

    def __init__(self, action: Action, value: Any = None, *, by: str = "interceptor") -> None:
        self.action = action
        self.by = by
        """Who decided, for the log."""
        self.value = value

    @classmethod
    def edit(cls, payload: Any) -> Decision:
        """Go on with another payload."""
        return cls("edit", payload)

    @classmethod
    def skip(cls, result: Any) -> Decision:
        """Do not call it; this is its result."""
        return cls("skip", result)

    @classmethod
    def inject(cls, message: Any) -> Decision:
        """Send this message as well."""
        return cls("inject", message)

    @classmethod
    def abort(cls, reason: str) -> Decision:
        """Cancel the trace."""
        return cls("abort", reason)

    def __call__(self) -> Decision:
        """`Decision.proceed()` reads as well as `Decision.proceed`."""
        return self

    def __repr__(self) -> str:
        return f"Decision({self.action!r}, {self.value!r})"


Decision.proceed = Decision("proceed")
Decision.retry = Decision("retry")

Interceptor = Callable[[Checkpoint], Awaitable["Decision | None"]]
"""Awaited at each checkpoint; None means proceed. What it raises is a failure of the node, without another attempt.

One that has a method `wants(checkpoint) -> bool` is only asked where that says so: then it counts as a stop, which is
written into the log whatever comes of it.
"""


def wanted(interceptors: Sequence[Interceptor], checkpoint: Checkpoint) -> tuple[Sequence[Interceptor], bool]:
    """Those that are to be asked here, and whether one of them says that it stops the run."""
    if not any(hasattr(each, "wants") for each in interceptors):
        return interceptors, False
    asked: list[Interceptor] = []
    stops = False
    for each in interceptors:
        wants = getattr(each, "wants", None)
        if wants is None:
            asked.append(each)
        elif wants(checkpoint):
            asked.append(each)
            stops = True
    return asked, stops


async def decide(interceptors: Sequence[Interceptor], checkpoint: Checkpoint) -> Decision:
    """Ask the interceptors in order. An edit is shown to those that follow; any other decision is final."""
    decision = Decision.proceed
    for interceptor in interceptors:
        answer = await interceptor(checkpoint)
        if answer is None or answer.action == "proceed":
            continue
        decision = answer
        if answer.action != "edit":
            break
        checkpoint = checkpoint._replace(payload=answer.value)
    return decision
