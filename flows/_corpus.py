"""The corpus that `research_agent` reads: short documents, `corpus://<folder>/<name>`, each with links to others."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "research_corpus"
SCHEME = "corpus://"
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        a about all an and are at be briefly by can did do does down find for from give had has have how i in into is
        it its know me much of on one or over please publish report so tell than that the their them there they this
        to was we were what when where which who why will with write you your
        """,
    )
)
_WORD = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_TITLE_WEIGHT = 3


class Document(NamedTuple):
    """One text of the corpus."""

    url: str
    title: str
    related: list[str]
    """URLs; one of them may lead nowhere."""
    text: str


@cache
def documents() -> dict[str, Document]:
    """All documents by URL, in the order of their URLs."""
    found = {}
    for path in sorted(FOLDER.rglob("*.md")):
        title, links, text = path.read_text(encoding="utf-8").split("\n\n", 2)
        url = SCHEME + path.relative_to(FOLDER).with_suffix("").as_posix()
        related = [SCHEME + link.strip() for link in links.removeprefix("Related:").split(",")]
        found[url] = Document(url, title.removeprefix("# ").strip(), related, " ".join(text.split()))
    return found


def words(text: str) -> set[str]:
    """The words of a text that say what it is about, without the `s` of a plural."""
    found = {word.casefold() for word in _WORD.findall(text)} - _STOP
    return {word.removesuffix("s") if len(word) > 3 else word for word in found}


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]


def best_sentence(text: str, question: str) -> str:
    """The sentence that has the most words of a question; the first of several, nothing of an empty text."""
    asked = words(question)
    return max(sentences(text), key=lambda sentence: len(words(sentence) & asked), default="")


def ranked(query: str) -> list[Document]:
    """The documents that have a word of the query, the best first."""
    asked = words(query)
    scores = {}
    for document in documents().values():
        score = _TITLE_WEIGHT * len(words(document.title) & asked) + len(words(document.text) & asked)
        often = sum(bool(words(word) & asked) for word in document.text.split())
        scores[document.url] = (score, often)
    best = sorted(scores, key=lambda url: scores[url], reverse=True)
    return [documents()[url] for url in best if scores[url][0]]


def closest(url: str) -> str | None:
    """The URL that is spelled most like one that there is not."""
    return next(iter(difflib.get_close_matches(url, documents(), n=1)), None)
