"""The summary agent: a sentence, the key points, a paragraph."""

from __future__ import annotations

from pydantic import BaseModel

from peeragent.agents import prompts
from peeragent.agents.tools import Tools, made
from peeragent.llm import Form
from peeragent.models.agents import SummaryOutput, Text
from peeragent.models.turns import Routed, TurnResult
from penguiflow import Context


class _Summary(BaseModel):
    tldr: Text
    key_points: list[Text]
    details: str


SUMMARY = Form(_Summary)


def reduction(text: str, shorter: str) -> str:
    """How much shorter a text has become, in percent of its words: counted, not claimed."""
    before, after = len(text.split()), len(shorter.split())
    return f"{max(0, round(100 * (1 - after / before)))}%" if before else "0%"


async def summary(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Have a text summarized: the task's own, or `context["text"]`."""
    request = turn.request
    asked = prompts.messages(prompts.SUMMARY, request)
    field = "details" if request.stream else None
    said, used = await tools.model.form(ctx, asked, SUMMARY, purpose="summary", stream_field=field)
    given = request.context.get("text")
    text = given if isinstance(given, str) else request.task
    shorter = f"{said.tldr} {' '.join(said.key_points)}"
    output = SummaryOutput(**said.model_dump(), word_count_reduction=reduction(text, shorter))
    return made(turn, "summary", output, used)
