"""The model that writes where no key is set: by rules, without network, always the same.

It gives back the shape that a prompt shows ("Example Format"), with the bodies of functions written: those it knows
as they should be, others so that they hold what the examples in their docstrings show, and say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peagen.scripted.shapes import fenced, shape_of
from peagen.scripted.writing import filled

if TYPE_CHECKING:
    from penguiflow.llm import LLMRequest, ScriptedModel

__all__ = ["NAME", "reply_to", "scripted_model"]

NAME = "scripted"
"""The provider that stands for this model."""
_NO_SHAPE = "# The scripted model writes after the shape that a prompt shows, and this one showed none."


def reply_to(prompt: str) -> str:
    """What is answered to a prompt: one fenced block with the whole file."""
    shape = shape_of(prompt)
    if shape is None:
        return fenced(_NO_SHAPE, "")
    return fenced(filled(shape.text) if shape.language in ("", "python", "py") else shape.text, shape.language)


def scripted_model() -> ScriptedModel:
    """A model of its own: it keeps what it was asked."""
    from penguiflow.llm import ScriptedModel

    return ScriptedModel(rules=[(_always, _reply)], model=NAME, piece=64)


def _always(request: LLMRequest) -> bool:
    return True


def _reply(request: LLMRequest) -> str:
    asked = [message.text for message in request.messages if message.role == "user"]
    return reply_to(asked[-1] if asked else "")
