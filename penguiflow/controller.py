"""Controller loops: a node that sends its working memory to itself until it has an answer or has spent its budget."""

from __future__ import annotations

import copy
import io
import pickle
import sys
import sysconfig
import time
from sys import getrefcount
from typing import Any, NamedTuple

from penguiflow.errors import FlowErrorCode
from penguiflow.types import WM, FinalAnswer, Message, set_given
from penguiflow.validation import rewrap, with_hops

__all__ = [
    "BUDGET_EXCEEDED_TEXT",
    "CONTROLLER_PAYLOADS",
    "DEADLINE_EXCEEDED_TEXT",
    "TOKEN_BUDGET_EXCEEDED_TEXT",
    "Step",
    "next_round",
    "next_step",
    "snapshot",
]

BUDGET_EXCEEDED_TEXT = "Hop budget exhausted"
DEADLINE_EXCEEDED_TEXT = "Deadline exceeded"
TOKEN_BUDGET_EXCEEDED_TEXT = "Token budget exhausted"  # noqa: S105 - no password
CONTROLLER_PAYLOADS = (WM, FinalAnswer)
"""Payloads that do not simply go to the successors."""


class Step(NamedTuple):
    """What follows from a working memory that a node returned."""

    message: Message
    """The next round's message, or the answer that ends the loop."""
    code: FlowErrorCode | None = None
    """Why the loop ends."""
    unbounded: bool = False
    """Neither hops nor tokens bound it: each round is delivered too, so that somebody can watch it."""


def next_step(before: Any, result: Message) -> Step:
    """Check the deadline, then the tokens, then the hops, and count one hop if the node did not."""
    memory: WM = result.payload
    if result.deadline_s is not None and result.deadline_s <= time.time():
        return _end(result, DEADLINE_EXCEEDED_TEXT, FlowErrorCode.DEADLINE_EXCEEDED)
    if memory.budget_tokens is not None and memory.tokens_used >= memory.budget_tokens:
        return _end(result, TOKEN_BUDGET_EXCEEDED_TEXT, FlowErrorCode.TOKEN_BUDGET_EXHAUSTED)
    hops = memory.hops
    if isinstance(before, WM) and hops <= before.hops:
        hops = before.hops + 1
    if memory.budget_hops is not None and hops >= memory.budget_hops:
        return _end(result, BUDGET_EXCEEDED_TEXT, FlowErrorCode.HOP_BUDGET_EXHAUSTED)
    if hops != memory.hops:
        result = rewrap(result, with_hops(memory, hops))
    return Step(result, unbounded=memory.budget_hops is None and memory.budget_tokens is None)


def next_round(context: Any, value: Any, result: Any, trace_id: str) -> Any:
    """The next round's `Message` (or bare `WM`) where counting is all there is to do; None: `next_step` has to look.

    Like a string that is appended to, message and memory are used again where nobody else can see it: where no
    reference to them, or to the context, is left but those of `Invoker.step` and of this function.
    """
    memory, before = result, value
    around: dict[str, Any] | None = None
    if type(result) is Message:
        if type(value) is not Message:
            return None
        around = result.__dict__
        if around["deadline_s"] is not None or around["trace_id"] != trace_id:
            return None
        memory = around["payload"]
        before = memory if value is result else value.__dict__["payload"]
    if type(memory) is not WM or type(before) is not WM:
        return None
    values = memory.__dict__
    hops = values["hops"]
    counted = hops + 1
    if before is not memory:
        counted = max(hops, before.__dict__["hops"] + 1)
    budget_hops, budget_tokens = values["budget_hops"], values["budget_tokens"]
    if budget_tokens is not None:
        if values["tokens_used"] >= budget_tokens:
            return None
    elif budget_hops is None:
        return None
    if budget_hops is not None and counted >= budget_hops:
        return None
    if counted == hops:
        return result
    if around is None:
        return with_hops(memory, counted)
    if (
        before is memory
        and getrefcount(memory) == _OWN_TO_MEMORY
        and getrefcount(values) == _OWN_TO_VALUES
        and getrefcount(result) == _OWN_TO_MESSAGE
        and getrefcount(context) == _OWN_TO_CONTEXT
    ):
        values["hops"] = counted
        given = memory.__pydantic_fields_set__
        if "hops" not in given:
            set_given(memory, given | {"hops"})
        return result
    return rewrap(result, with_hops(memory, counted))


_IMMUTABLE = frozenset({str, int, float, bool, bytes, complex, type(None)})


def _count_references() -> tuple[int, int, int, int]:
    """How many references `next_round` sees where the runtime's are the only ones; 0 where that cannot be told."""
    # From 3.14 on a local variable may be borrowed, and a free-threaded interpreter counts otherwise.
    countable = sys.implementation.name == "cpython" and sys.version_info < (3, 14)
    if not countable or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return 0, 0, 0, 0
    # The memory: its message, `memory`, `before`. Its values: the memory, `values`. The message: its edge's item,
    # `message`, `value`, `result` of `step`; `value`, `result` here. The context: `context` there and here. And each
    # time the argument of `getrefcount`.
    return 4, 3, 7, 3


_OWN_TO_MEMORY, _OWN_TO_VALUES, _OWN_TO_MESSAGE, _OWN_TO_CONTEXT = _count_references()


def snapshot(message: Message) -> Message:
    """The message as it is now, whatever the loop does to its working memory afterwards."""
    memory: WM = message.payload
    memo: dict[int, Any] = {}
    # Most facts are texts and numbers, which need no copy, or JSON; there may be thousands, copied every round.
    facts = _copied_plainly(memory.facts)
    if facts is None:
        facts = [fact if type(fact) in _IMMUTABLE else _copied(fact, memo) for fact in memory.facts]
    if type(memory) is WM:
        return rewrap(message, memory.model_copy(update={"facts": facts}))
    others = memory.model_copy(update={"facts": []}).model_copy(deep=True)
    return rewrap(message, others.model_copy(update={"facts": facts}))


class _NotPlain(Exception):
    """Something in it is made of more than Python's own containers, texts and numbers."""


class _Plain(pickle.Pickler):
    """Pickles what needs no word of its class; what is in it twice is in the copy twice."""

    def reducer_override(self, obj: Any) -> Any:
        raise _NotPlain


def _copied_plainly(facts: list[Any]) -> list[Any] | None:
    """A deep copy in a third of the time; None where pickle might make something else of it than `copy` does."""
    if _IMMUTABLE.issuperset(map(type, facts)):
        return facts.copy()
    written = io.BytesIO()
    try:
        _Plain(written, pickle.HIGHEST_PROTOCOL).dump(facts)
        copied: list[Any] = pickle.loads(written.getbuffer())  # noqa: S301 - written the line before
    except (_NotPlain, RecursionError):
        return None
    return copied


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """`copy.deepcopy`, several times faster for what JSON knows; `memo` is its memory of what was copied."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return copy.deepcopy(value, memo)
    known = memo.get(id(value))
    if known is not None:
        return known
    if kind is list:
        items = memo[id(value)] = value.copy()
        for position, item in enumerate(value):
            if type(item) not in _IMMUTABLE:
                items[position] = _copied(item, memo)
        return items
    for key in value:
        if type(key) not in _IMMUTABLE:
            return copy.deepcopy(value, memo)
    made = memo[id(value)] = value.copy()
    for key, item in value.items():
        if type(item) not in _IMMUTABLE:
            made[key] = _copied(item, memo)
    return made


def _end(result: Message, text: str, code: FlowErrorCode) -> Step:
    return Step(rewrap(result, FinalAnswer(text=text)), code)
