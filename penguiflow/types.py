"""The envelope that travels between nodes, and the payloads that the runtime knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from penguiflow.ids import new_id

__all__ = ["FinalAnswer", "Headers", "Message", "PlanStep", "StreamChunk", "Thought", "WM"]

# The four parts of a model's state, set one by one where the values are known to be valid.
set_values = BaseModel.__dict__["__dict__"].__set__
set_given = BaseModel.__dict__["__pydantic_fields_set__"].__set__
set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
set_private = BaseModel.__dict__["__pydantic_private__"].__set__


class Headers(BaseModel):
    """Who a message belongs to."""

    tenant: str
    topic: str | None = None
    priority: int = 0
    """Carried for programs that use it; the runtime delivers in order whatever it says."""


class Message(BaseModel):
    """A payload with its headers, its trace and its metadata."""

    payload: Any
    headers: Headers
    trace_id: str = Field(default_factory=new_id)
    ts: float = Field(default_factory=time.time)
    """When the message was made, in unix seconds."""
    deadline_s: float | None = None
    """When the trace must be done, in unix seconds."""
    meta: dict[str, Any] = Field(default_factory=dict)

    if not TYPE_CHECKING:

        def __init__(self, /, **data: Any) -> None:
            # Most messages are made of parts that are valid already; checking them again takes as long as a hop.
            headers = data.get("headers")
            if len(data) == 2 and type(headers) is Headers and type(self) is Message and "payload" in data:
                values = {
                    "payload": data["payload"],
                    "headers": headers,
                    "trace_id": new_id(),
                    "ts": time.time(),
                    "deadline_s": None,
                    "meta": {},
                }
                set_values(self, values)
                set_given(self, {"payload", "headers"})
                set_extra(self, None)
                set_private(self, None)
            else:
                super().__init__(**data)

        # To pydantic this is its own `__init__`: it validates dicts and JSON without calling it.
        __init__.__pydantic_base_init__ = True


class StreamChunk(BaseModel):
    """One piece of a stream; `seq` counts from 0 within `stream_id`."""

    stream_id: str
    seq: int
    text: str
    done: bool = False
    meta: dict[str, Any] = Field(default_factory=dict)


class PlanStep(BaseModel):
    """One step that a controller intends to take."""

    kind: Literal["retrieve", "web", "sql", "summarize", "route", "stop"]
    args: dict[str, Any] = Field(default_factory=dict)
    max_concurrency: int = 1


class Thought(BaseModel):
    """A controller's plan and the reason for it."""

    steps: list[PlanStep]
    rationale: str
    done: bool = False


class WM(BaseModel):
    """Working memory: the payload of a controller loop, with its budgets."""

    query: str
    facts: list[Any] = Field(default_factory=list)
    hops: int = 0
    budget_hops: int | None = 8
    tokens_used: int = 0
    budget_tokens: int | None = None
    confidence: float = 0.0


class FinalAnswer(BaseModel):
    """What ends a controller loop."""

    text: str
    citations: list[str] = Field(default_factory=list)
