"""The search tool: a protocol, the corpus that needs no network, and a server of one's own."""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from peeragent.errors import AgentFailed
from peeragent.settings import Settings
from peeragent.words import STOP
from penguiflow import Context
from penguiflow.calls import call_out

LIMIT = 5
"""Documents of a search."""
MAX_QUERY = 400
"""Characters of a query."""
MAX_TEXT = 2000
"""Characters of a document that are used."""
MAX_REPLY = 2_000_000
"""Bytes that a search server may answer."""


class Document(BaseModel):
    """What a search finds."""

    title: str
    url: str
    text: str


class SearchTool(Protocol):
    """Finds documents."""

    async def search(self, query: str, limit: int = LIMIT) -> Sequence[Document]:
        """The documents that fit the query best, the best first. Raises `AgentFailed("SEARCH_FAILED")`."""
        ...


_WORD = re.compile(r"[^\W_]+(?:[+#]+)?")
K1 = 1.4
B = 0.6
TITLE = 3
"""How often a word of the title counts."""


def terms(text: str) -> list[str]:
    """The words that say what a text is about, without the endings of plurals and the like."""
    return [_stem(word) for word in _WORD.findall(text.casefold()) if word not in STOP]


def _stem(word: str) -> str:
    if len(word) > 4:
        for ending, instead in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", "")):
            if word.endswith(ending) and not word.endswith(("ss", "us", "is")) and len(word) - len(ending) >= 3:
                return (word[: -len(ending)] + instead).rstrip("e")
        return word.rstrip("e")
    return word


class CorpusSearch:
    """Ranks documents by BM25."""

    def __init__(self, documents: Iterable[Document] | None = None) -> None:
        """`documents`: the corpus of this package by default."""
        self.documents = list(corpus() if documents is None else documents)
        self._postings: dict[str, list[tuple[int, int]]] = {}
        lengths = []
        for place, document in enumerate(self.documents):
            counted = Counter(TITLE * terms(document.title) + terms(document.text))
            lengths.append(counted.total())
            for term, often in counted.items():
                self._postings.setdefault(term, []).append((place, often))
        average = sum(lengths) / len(lengths) if lengths else 1.0
        self._norms = [K1 * (1 - B + B * length / average) for length in lengths]

    async def search(self, query: str, limit: int = LIMIT) -> Sequence[Document]:
        """The best documents that have a word of the query."""
        return self.ranked(query, limit)

    def ranked(self, query: str, limit: int) -> list[Document]:
        """The same, at once."""
        scores: dict[int, float] = {}
        total = len(self.documents)
        for term in dict.fromkeys(terms(query)):
            having = self._postings.get(term, ())
            rarity = math.log(1 + (total - len(having) + 0.5) / (len(having) + 0.5))
            for place, often in having:
                scores[place] = scores.get(place, 0.0) + rarity * often * (K1 + 1) / (often + self._norms[place])
        best = sorted(scores, key=lambda place: (-scores[place], place))
        return [self.documents[place] for place in best[:limit]]


@cache
def corpus() -> tuple[Document, ...]:
    """The documents of this package."""
    folder = files("peeragent") / "corpus"
    lines: list[str] = []
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.name.endswith(".jsonl"):
            lines += each.read_text(encoding="utf-8").splitlines()
    return tuple(Document.model_validate(json.loads(line)) for line in lines if line.strip())


_FOUND: TypeAdapter[list[Document]] = TypeAdapter(list[Document])


class HttpSearch:
    """Asks a server: `GET url?q=…&limit=…`, which answers with a JSON list of `{title, url, text}`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`key` is sent as a bearer token."""
        self._url = url
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._timeout = timeout_s
        self._transport = transport
        self._verify: ssl.SSLContext | bool = False
        """Made once: it reads all certificates, which takes longer than a search."""

    async def search(self, query: str, limit: int = LIMIT) -> Sequence[Document]:
        """What the server finds, `limit` at most. Only documents at http(s) addresses count."""
        try:
            if self._verify is False and self._url.startswith("https:"):
                self._verify = await asyncio.to_thread(httpx.create_ssl_context)
            async with httpx.AsyncClient(
                timeout=self._timeout, transport=self._transport, verify=self._verify
            ) as client:
                reply = await client.get(self._url, params={"q": query, "limit": str(limit)}, headers=self._headers)
            reply.raise_for_status()
            if len(reply.content) > MAX_REPLY:
                raise AgentFailed("SEARCH_FAILED", f"the search server answered more than {MAX_REPLY} bytes")
            found = _FOUND.validate_json(reply.content)
        except httpx.HTTPStatusError as error:
            raise AgentFailed("SEARCH_FAILED", f"the search server answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
            raise AgentFailed("SEARCH_FAILED", f"the search server {what}") from error
        except ValidationError as error:
            raise AgentFailed("SEARCH_FAILED", "the search server's answer is no list of {title, url, text}") from error
        return [each for each in found if each.url.startswith(("http://", "https://"))][:limit]


def make_search(settings: Settings) -> SearchTool:
    """The search tool of the settings."""
    if settings.search_provider == "http":
        assert settings.search_url is not None  # the settings see to it
        key = None if settings.search_api_key is None else settings.search_api_key.get_secret_value()
        return HttpSearch(settings.search_url, key=key, timeout_s=settings.search_timeout)
    return _corpus_search()


@cache
def _corpus_search() -> CorpusSearch:
    return CorpusSearch()


async def search_in(ctx: Context, tool: SearchTool, query: str, limit: int = LIMIT) -> list[Document]:
    """Search from within a node: a `tool` span of its trace, answered from a recording in a replay."""
    query = " ".join(query.split())[:MAX_QUERY]

    async def perform() -> dict[str, Any]:
        found = await tool.search(query, limit)
        return {"observation": [_cut(each).model_dump() for each in found]}

    asked = {"tool": "search", "args": {"query": query, "limit": limit}}
    told = await call_out(ctx, "tool", "search", asked, perform)
    return _FOUND.validate_python(told["observation"])


def _cut(document: Document) -> Document:
    return (
        document if len(document.text) <= MAX_TEXT else document.model_copy(update={"text": document.text[:MAX_TEXT]})
    )
