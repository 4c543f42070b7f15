"""The content agent: an answer from documents, with those that it cites."""

from __future__ import annotations

import re
from collections.abc import Sequence

from peeragent.agents import prompts
from peeragent.agents.tools import Tools, made
from peeragent.models.agents import ContentOutput
from peeragent.models.turns import Routed, TurnRequest, TurnResult
from peeragent.search import MAX_QUERY, Document, search_in, terms
from penguiflow import Context

MAX_SOURCES = 5
FEW_TERMS = 3
"""Of a task that is too short to be searched for without what was said before."""

_URL = re.compile(r"https?://[^\s\[\]<>\"'`]+")
_CITED = re.compile(r"[ \t]*\[\s*(https?://[^\s\[\]<>\"'`]+)\s*\]")


def query_of(request: TurnRequest) -> str:
    """What is searched for."""
    if len(terms(request.task[:MAX_QUERY])) >= FEW_TERMS:
        return request.task
    before = next((turn.text for turn in reversed(request.history) if turn.role == "user"), "")
    return f"{request.task} {before}".strip()


def as_data(documents: Sequence[Document]) -> str:
    """Documents, as a model is shown them."""
    shown = [f"[{each.url}]\n{each.title}\n{each.text}" for each in documents]
    return "\n\n".join(shown) or "(nothing was found)"


def cited(reply: str, documents: Sequence[Document]) -> list[str]:
    """The URLs of documents that a reply cites, in order, five at most."""
    known = {each.url for each in documents}
    found = (_trimmed(match[0], known) for match in _URL.finditer(reply))
    return [url for url in dict.fromkeys(found) if url in known][:MAX_SOURCES]


def without_foreign(reply: str, documents: Sequence[Document], task: str) -> str:
    """The reply without citations of what was not found: nobody has read these."""
    known = {each.url for each in documents}

    def kept(match: re.Match[str]) -> str:
        url = _trimmed(match[1], known)
        return match[0] if url in known or url in task else ""

    return _CITED.sub(kept, reply).strip()


def _trimmed(url: str, known: set[str]) -> str:
    """Without the sign that ends the sentence."""
    return url if url in known else url.rstrip(".,;:!?)")


async def content(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Search, and have an answer written from what was found."""
    request = turn.request
    documents = await search_in(ctx, tools.search, query_of(request))
    asked = prompts.messages(prompts.CONTENT, request, documents=as_data(documents))
    reply, used = await tools.model.text(ctx, asked, purpose="content", stream=request.stream)
    text = without_foreign(reply, documents, request.task) or reply
    return made(turn, "content", ContentOutput(content=text, sources=cited(text, documents)), used)
