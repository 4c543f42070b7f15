"""The corpus, its ranking, and a search server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from peeragent.errors import AgentFailed
from peeragent.search import CorpusSearch, Document, HttpSearch, corpus, make_search, terms

if TYPE_CHECKING:
    from peeragent.settings import Settings


def test_the_corpus_is_large_and_varied() -> None:
    documents = corpus()
    topics = Counter(document.url.split("/")[3] for document in documents)

    assert len(documents) >= 200
    assert len({document.url for document in documents}) == len(documents)
    assert len({document.title for document in documents}) == len(documents)
    assert all(document.url.startswith("https://corpus.example/") for document in documents)
    assert all(60 <= len(document.text) <= 600 for document in documents)
    assert set(topics) == {"technology", "business", "health", "science", "history", "world"}
    assert min(topics.values()) >= 30


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("What is machine learning?", "Machine learning"),
        ("What are the latest trends in AI?", "AI trends"),
        ("why do customers leave", "Customer churn"),
        ("how do vaccines work", "Vaccines"),
        ("Who are the main competitors in electric cars?", "Electric car market"),
        ("roads of the Romans", "Roman Empire"),
        ("the greenhouse effect explained", "Greenhouse effect"),
        ("PHOTOSYNTHESIS", "Photosynthesis"),
    ],
)
def test_the_best_document_is_first(query: str, title: str) -> None:
    assert CorpusSearch().ranked(query, 5)[0].title == title


def test_rare_words_count_more_than_frequent_ones() -> None:
    documents = [
        Document(title=f"Note {number}", url=f"https://x.example/{number}", text="common words about common things")
        for number in range(20)
    ]
    rare = Document(title="Other", url="https://x.example/rare", text="a zebra and one common word")
    assert CorpusSearch([*documents, rare]).ranked("common zebra", 3)[0] == rare


async def test_nothing_fits() -> None:
    search = CorpusSearch()
    assert await search.search("xyzzy qwertz") == []
    assert await search.search("") == []
    assert await search.search("the of and") == []
    assert len(await search.search("market", limit=2)) == 2
    assert CorpusSearch([]).ranked("anything", 3) == []


def test_words_meet_in_their_stems() -> None:
    assert terms("Customers leaving") == terms("customer leave")
    assert terms("C++ and C#") == ["c++", "c#"]


# A server


class SearchServer:
    """Answers searches over a real socket."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.hold: asyncio.Event | None = None
        self.server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/find"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            self.asked.append((lines[0].split(" ")[1], headers))
            if self.hold is not None:
                await self.hold.wait()
            body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
            head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[SearchServer]:
    made = SearchServer()
    made.server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    yield made
    if made.hold is not None:
        made.hold.set()
    made.server.close()
    await made.server.wait_closed()


FOUND = [{"title": f"T{n}", "url": f"https://found.example/{n}", "text": f"text {n}"} for n in range(9)]


async def test_a_server_is_asked(server: SearchServer, settings_of: Callable[..., Settings]) -> None:
    server.body = [{"title": "bad", "url": "javascript:alert(1)", "text": "x"}, *FOUND]
    search = make_search(
        settings_of(search_provider="http", search_url=server.url, search_api_key="find-key", search_timeout=30)
    )
    found = await search.search("a & b?", 3)

    assert [each.url for each in found] == [f"https://found.example/{n}" for n in range(3)]
    path, headers = server.asked[0]
    assert parse_qs(urlsplit(path).query) == {"q": ["a & b?"], "limit": ["3"]}
    assert headers["authorization"] == "bearer find-key"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, [], "500"),
        (403, [], "403"),
        (200, {"results": []}, "no list"),
        (200, [{"title": "x"}], "no list"),
        (200, b"<html>", "no list"),
        (200, b" " * 2_000_001, "bytes"),
    ],
)
async def test_failures_of_a_server(server: SearchServer, status: int, body: Any, says: str) -> None:
    server.status, server.body = status, body
    with pytest.raises(AgentFailed, match=says) as failed:
        await HttpSearch(server.url, timeout_s=30).search("x")
    assert failed.value.code == "SEARCH_FAILED"


async def test_a_server_that_hangs(server: SearchServer) -> None:
    server.hold = asyncio.Event()
    with pytest.raises(AgentFailed, match="in time"):
        await HttpSearch(server.url, timeout_s=0.2).search("x")


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(AgentFailed, match="cannot be reached"):
        await HttpSearch("http://127.0.0.1:9/", timeout_s=30).search("x")
