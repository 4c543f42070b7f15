"""Parts of frames: what runs a recorded trace again, or goes on with it, and how that went."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ReplayOrder(BaseModel):
    """Which trace of the project's store is to be run again, answered from its recording."""

    trace_id: str
    live_after: str | None = None
    """A span, by its id or path: what is called after its end is called in earnest."""
    file: str | None = None
    """Read the recording from this cassette, and not from the store."""


class ReplayReport(BaseModel):
    """How a replay went, beside its result."""

    origin: str
    """The trace that was replayed."""
    answered: int = 0
    """Calls that were answered from the recording."""
    made: int = 0
    """Calls that were made."""
    diverged: dict[str, Any] | None = None
    """The first call that is not as recorded: `path, seq, why, recorded, got, diff`."""
    difference: str = ""
    """What came out against what was recorded, as a diff; empty when that is the same."""
    blocked: list[dict[str, Any]] = Field(default_factory=list)
    """Connections that were tried and not let through: `to, file, line`."""
    started: list[dict[str, Any]] = Field(default_factory=list)
    """Processes that were started, which nobody watched: `command, file, line`."""
    refused: str | None = None
    """Why the trace cannot be replayed; then nothing has run."""


class RestoreOrder(BaseModel):
    """Which trace of the project's store is to go on, from where, and as what."""

    trace_id: str
    at: int | None = None
    """After which event a fork begins; None resumes the trace itself, after its last one."""
    edits: dict[str, Any] = Field(default_factory=dict)
    """New values by JSON Pointer into the message that stopped there; another message's id may stand in front.

    Where `at` is in a step of a planner: into its decision (`/args/url`), or into what is shown at another of its
    checkpoints, named in front (`before_llm:/messages/0/content`). What that step did before is not done again.
    """


class RestoreReport(BaseModel):
    """What came of it, beside its result."""

    origin: str
    """The trace that was forked or resumed."""
    seq: int | None = None
    """After which event it went on."""
    repeated: int = 0
    """Invocations that had begun and were run again."""
    refused: list[str] = Field(default_factory=list)
    """Why the trace cannot go on; then nothing has run."""
    missing: list[str] = Field(default_factory=list)
    """Places of secrets that the log does not have: they have to be given as edits."""
    missed: list[str] = Field(default_factory=list)
    """Checkpoints of a planner's step that had an edit and were not reached again."""
