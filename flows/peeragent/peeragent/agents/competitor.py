"""The competitor agent: a market and who is in it, from documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from peeragent.agents import prompts
from peeragent.agents.content import as_data, cited, query_of, without_foreign
from peeragent.agents.tools import Tools, made
from peeragent.llm import Form
from peeragent.models.agents import CompetitorAnalysisOutput, Text
from peeragent.models.turns import Routed, TurnResult
from peeragent.search import Document, search_in
from penguiflow import Context


class _Competitor(BaseModel):
    name: Text
    strengths: list[str] = Field(default_factory=list)
    weaknesses: list[str] = Field(default_factory=list)


class _Compared(BaseModel):
    criterion: Text
    assessment: str


class _Analysis(BaseModel):
    market_overview: Text
    competitors: list[_Competitor]
    comparison_matrix: list[_Compared]
    market_positioning: str
    opportunities: list[str]
    threats: list[str]
    recommendations: list[str]


ANALYSIS = Form(_Analysis)


async def competitor(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Search, and have an analysis made of what was found."""
    request = turn.request
    documents = await search_in(ctx, tools.search, query_of(request))
    asked = prompts.messages(prompts.COMPETITOR, request, documents=as_data(documents))
    field = "market_overview" if request.stream else None
    said, used = await tools.model.form(ctx, asked, ANALYSIS, purpose="competitor", stream_field=field)
    data = _without_foreign(said.model_dump(), documents, request.task)
    output = CompetitorAnalysisOutput(
        **{**data, "comparison_matrix": {each["criterion"]: each["assessment"] for each in data["comparison_matrix"]}},
        sources=cited(said.model_dump_json(), documents),
    )
    return made(turn, "competitor_analysis", output, used)


def _without_foreign(value: Any, documents: Sequence[Document], task: str) -> Any:
    if isinstance(value, str):
        return without_foreign(value, documents, task)
    if isinstance(value, list):
        return [_without_foreign(each, documents, task) for each in value]
    if isinstance(value, dict):
        return {key: _without_foreign(each, documents, task) for key, each in value.items()}
    return value
