"""The e-mail agent."""

from __future__ import annotations

from pydantic import BaseModel, Field

from peeragent.agents import prompts
from peeragent.agents.tools import Tools, made
from peeragent.llm import Form
from peeragent.models.agents import EmailOutput, Text
from peeragent.models.turns import Routed, TurnResult
from penguiflow import Context


class _Email(BaseModel):
    subject: Text
    greeting: str
    body: Text
    closing: str
    signature: str
    tone: str
    tips: list[str] = Field(default_factory=list)


EMAIL = Form(_Email)


async def email(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Have an e-mail written; `context["tone"]` and whatever else stands there is told to the model."""
    request = turn.request
    asked = prompts.messages(prompts.EMAIL, request)
    field = "body" if request.stream else None
    said, used = await tools.model.form(ctx, asked, EMAIL, purpose="email", stream_field=field)
    parts = (f"Subject: {said.subject}", said.greeting, said.body, said.closing, said.signature)
    full = "\n\n".join(part.strip() for part in parts if part.strip())
    return made(turn, "email", EmailOutput(**said.model_dump(), full_email=full), used)
