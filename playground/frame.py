"""What frames of the protocol have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["BaseFrame", "CodeError", "CodeFrame"]


class BaseFrame(BaseModel):
    """What every frame has."""

    id: int | None = None
    """Set on a request that wants an answer."""
    reply_to: int | None = None
    """Set on the answer."""


class CodeFrame(BaseModel):
    """One frame of a traceback, in the user's own code."""

    file: str
    line: int
    function: str
    text: str = ""


class CodeError(BaseModel):
    """Why a module offers nothing to run."""

    kind: Literal["syntax", "import", "missing_dependency", "no_flow", "cycle", "factory", "exit", "not_found", "stall"]
    message: str
    """One line."""
    file: str | None = None
    line: int | None = None
    frames: list[CodeFrame] = Field(default_factory=list)
    """Innermost last; frames of libraries are left out."""
    hint: str | None = None
    """What to do about it."""
