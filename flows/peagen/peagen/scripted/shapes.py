"""Reading a prompt: the shape that it shows, which stands in a fence below a heading."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADING = re.compile(r"#{1,6}\s*(?:\d+[.)]\s*)?(?:(?:example|file|output)\s*)?(?:format|shape)\b.*", re.IGNORECASE)
_FENCE = re.compile(r"(?P<ticks>`{3,}|~{3,})(?P<language>[\w+-]*)\s*")


@dataclass(frozen=True, slots=True)
class Shape:
    """A fenced block."""

    language: str
    text: str


def shape_of(prompt: str) -> Shape | None:
    """The block below the heading "Example Format"; without one the first block; None without any."""
    blocks = _blocks(prompt.splitlines())
    below = [shape for heading, shape in blocks if _HEADING.fullmatch(heading)]
    return next(iter(below or [shape for _, shape in blocks]), None)


def fenced(text: str, language: str) -> str:
    """A text in a fence that is longer than any in it."""
    longest = max((len(ticks) for ticks in re.findall(r"^`{3,}", text, re.MULTILINE)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _blocks(lines: list[str]) -> list[tuple[str, Shape]]:
    """Each block with the last heading before it."""
    found: list[tuple[str, Shape]] = []
    heading, start, opened = "", 0, None
    for place, line in enumerate(lines):
        if opened is not None:
            # A fence ends with one at least as long, and nothing behind it.
            bare = line.strip()
            if bare.startswith(opened["ticks"]) and set(bare) == {opened["ticks"][0]}:
                found.append((heading, Shape(opened["language"], "\n".join(lines[start:place]))))
                opened = None
        elif (fence := _FENCE.fullmatch(line.strip())) is not None:
            opened, start = fence, place + 1
        elif line.startswith("#"):
            heading = line.strip()
    return found
