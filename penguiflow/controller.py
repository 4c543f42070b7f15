"""Controller loops: a node that sends its working memory to itself until it has an answer or has spent its budget."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from penguiflow.errors import FlowErrorCode
from penguiflow.types import WM, FinalAnswer, Message
from penguiflow.validation import rewrap, with_hops

__all__ = [
    "BUDGET_EXCEEDED_TEXT",
    "CONTROLLER_PAYLOADS",
    "DEADLINE_EXCEEDED_TEXT",
    "TOKEN_BUDGET_EXCEEDED_TEXT",
    "Step",
    "next_memory",
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


def next_memory(value: Any, result: Any, trace_id: str) -> WM | None:
    """The working memory of the next round, where counting is all there is to do; None where `next_step` has to look.

    `value` is what the controller got: a `Message` or, if it takes bare ones, a `WM`.
    """
    memory = result
    before = value
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
    counted = (hops if before is memory else before.__dict__["hops"]) + 1
    budget_hops, budget_tokens = values["budget_hops"], values["budget_tokens"]
    if budget_tokens is not None:
        if values["tokens_used"] >= budget_tokens:
            return None
    elif budget_hops is None:
        return None
    if budget_hops is not None and (counted >= budget_hops or hops >= budget_hops):
        return None
    return memory if hops >= counted else with_hops(memory, counted)


def snapshot(message: Message) -> Message:
    """The message as it is now, whatever the loop does to its working memory afterwards."""
    return rewrap(message, message.payload.model_copy(deep=True))


def _end(result: Message, text: str, code: FlowErrorCode) -> Step:
    return Step(rewrap(result, FinalAnswer(text=text)), code)
