"""The tools of `research_agent`: search, fetch, skim, compare and publish."""

from __future__ import annotations

from typing import Literal
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from flows._corpus import best_sentence, closest, documents, ranked, sentences
from penguiflow import ModelRegistry, Node, NodePolicy
from penguiflow.catalog import tool
from penguiflow.planner import ToolContext


class Query(BaseModel):
    """What to look for."""

    query: str = Field(min_length=1, description="Words that the documents should have.")
    limit: int = Field(4, ge=1, le=10)


class Hit(BaseModel):
    """A document that was found."""

    url: str
    title: str
    snippet: str


class Hits(BaseModel):
    """What was found, the best first."""

    hits: list[Hit]


class Address(BaseModel):
    """Which document."""

    url: str = Field(min_length=1, description="corpus://folder/name, from search or from the related links of a page.")


class Page(BaseModel):
    """A document."""

    model_config = ConfigDict(json_schema_extra={"produces_sources": True})

    url: str
    title: str
    text: str
    related: list[str] = []
    attempts: int = Field(1, description="How often it was asked for until the archive answered.")


class Gist(BaseModel):
    """The beginning of a document."""

    url: str
    title: str
    first_sentence: str
    related: list[str] = []


class Comparison(BaseModel):
    """Pages to be held against a question."""

    question: str = Field(min_length=1)
    pages: list[Page] = Field(min_length=1)


class Finding(BaseModel):
    """What a page has to say."""

    url: str
    title: str
    sentence: str


class Findings(BaseModel):
    """What the pages have to say, in their order."""

    question: str
    findings: list[Finding]


class Report(BaseModel):
    """A text that others are to read."""

    title: str = Field(min_length=1)
    body: str = Field(min_length=1)


class Publication(BaseModel):
    """What became of a report."""

    published: bool
    reference: str | None = None


class ArchiveError(Exception):
    """The archive gave no answer; it may do so when it is asked again."""


class NoSuchPage(LookupError):
    """There is no document of this URL."""

    def __init__(self, url: str) -> None:
        super().__init__(f"there is no document {url}")
        near = closest(url)
        self.suggestion = f"Did you mean {near}?" if near else "Use a URL that search gave."


def outages(url: str) -> int:
    """How often the archive fails before it gives a document: 0, 1 or 2 times, always the same for the same URL."""
    return crc32(url.encode()) % 3


@tool(desc="Find documents about something. Gives their URLs, titles and first sentences.", side_effects="read")
async def search(args: Query, ctx: ToolContext) -> Hits:
    """Rank the corpus."""
    found = ranked(args.query)[: args.limit]
    return Hits(hits=[Hit(url=each.url, title=each.title, snippet=sentences(each.text)[0]) for each in found])


@tool(desc="Read a whole document, and the URLs of related ones. The archive is down at times.", side_effects="read")
async def fetch(args: Address, ctx: ToolContext) -> Page:
    """Read a page. Its context is the same for all attempts of a call."""
    attempt = ctx.tool_context["attempt"] = ctx.tool_context.get("attempt", 0) + 1
    document = documents().get(args.url)
    if document is None:
        raise NoSuchPage(args.url)
    if attempt <= outages(args.url):
        raise ArchiveError(f"503: the archive is busy (attempt {attempt})")
    return Page(**document._asdict(), attempts=attempt)


@tool(desc="Read only the title and the first sentence of a document: quicker than fetch.", side_effects="read")
async def skim(args: Address, ctx: ToolContext) -> Gist:
    """Read the beginning of a page; the index has it, and is never down."""
    document = documents().get(args.url)
    if document is None:
        raise NoSuchPage(args.url)
    first = sentences(document.text)[0]
    return Gist(url=document.url, title=document.title, first_sentence=first, related=document.related)


@tool(desc="From each of some pages take the sentence that answers a question best. Made for joins.")
async def compare(args: Comparison, ctx: ToolContext) -> Findings:
    """Pick sentences."""
    findings = [
        Finding(url=page.url, title=page.title, sentence=best_sentence(page.text, args.question)) for page in args.pages
    ]
    return Findings(question=args.question, findings=findings)


@tool(
    desc="Publish a report, once. Somebody is asked for approval first.",
    side_effects="external",
    safety_notes="Only when the user asks for it.",
)
async def publish(args: Report, ctx: ToolContext) -> Publication:
    """Ask, then publish. Where nobody can answer the run pauses here, and goes on here."""
    answer = await ctx.ask(f"Publish {args.title!r} ({len(args.body)} characters)? yes or no", Literal["yes", "no"])
    if answer == "no":
        return Publication(published=False)
    return Publication(published=True, reference=await ctx.record("publish", _press, args.title, args.body))


def _press(title: str, body: str) -> str:
    """What the outside world makes of a report: recorded, so that a replay publishes nothing."""
    return f"REPORT-{crc32(f'{title}/{body}'.encode()) % 10_000:04d}"


registry = ModelRegistry()
registry.register("search", Query, Hits)
registry.register("fetch", Address, Page)
registry.register("skim", Address, Gist)
registry.register("compare", Comparison, Findings)
registry.register("publish", Report, Publication)

fetch_policy = NodePolicy(timeout_s=30.0, max_retries=2, backoff_base=0.1, retry_on=(ArchiveError, TimeoutError))
nodes = [
    Node(search, name="search"),
    Node(fetch, name="fetch", policy=fetch_policy),
    Node(skim, name="skim"),
    Node(compare, name="compare"),
    Node(publish, name="publish"),
]
