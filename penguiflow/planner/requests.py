"""What a run is asked, as data: the message of a flow that consists of a planner."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import PydanticCustomError

__all__ = ["PlannerRequest", "Resumption"]


class Resumption(BaseModel):
    """Go on with a run that is paused."""

    model_config = ConfigDict(extra="forbid")

    pause: str
    """Its `resume_token`. Not called so here: it is needed again when the run goes on after a crash, and what is called
    a token is hidden in logs. It is good only once."""
    user_input: str | None = None
    answer: Any = None
    """To `ctx.ask`: JSON. None: `user_input` is the answer."""


class PlannerRequest(BaseModel):
    """A query with all that the run is told; or the token of a run that is paused."""

    model_config = ConfigDict(extra="forbid")

    query: str = ""
    llm_context: dict[str, Any] | None = None
    """Shown to the model."""
    tool_context: dict[str, Any] | None = None
    """Shown to tools. What is no JSON is passed beside, and is missing in a replay."""
    memory_key: str | None = None
    """`tenant:user:session`."""
    input_parts: list[dict[str, Any]] = Field(default_factory=list)
    """As `penguiflow.llm.wire` writes parts."""
    resume: Resumption | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_fields_set & {"query", "resume", "input_parts"}:
            raise PydanticCustomError("nothing_asked", "A planner needs a `query`, or `resume`")
        return self

    @model_serializer(mode="wrap")
    def _as_it_was_asked(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what says nothing: a record of it is read by people."""
        told: dict[str, Any] = dump(self)
        if not self.query and "query" not in self.model_fields_set:
            told.pop("query", None)
        return {name: value for name, value in told.items() if value is not None and value != []}
