"""The file's text out of what a model answered."""

from __future__ import annotations

import logging
import re
from pathlib import PurePosixPath

log = logging.getLogger("peagen")

_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
_THINKING_CUT_OFF = re.compile(r"\A\s*<think>.*\Z", re.DOTALL)
_FENCE = re.compile(r"^ {0,3}(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^\n]*?)[ \t]*$")
_PROSE = {".md", ".markdown", ".mdx", ".rst", ".txt"}


def extract_answer(text: str, file_name: str = "") -> str:
    """The content of the answer's first fenced block, else the whole answer without space around it.

    What stands in `<think>…</think>` is left out first. A block that holds blocks itself (a README with
    examples) is taken whole. A document (`file_name` ends in .md, .rst or .txt) that is not fenced as a
    whole but only has fenced examples is no block: the whole text is the answer.

    Returns:
        The text; empty if there is none. A block keeps its last newline.
    """
    text = _THINKING_CUT_OFF.sub("", _THINKING.sub("", text)).strip()
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if _opens(line)), None)
    if start is None:
        return text
    if PurePosixPath(file_name).suffix.lower() in _PROSE and not _wraps_document(lines, start, file_name):
        return text
    end = _end_of_block(lines, start)
    if any(_opens(line) for line in lines[end + 1 :]):
        log.warning("The answer%s has more than one fenced block; the first one is taken", _named(file_name))
    block = lines[start + 1 : end]
    return "\n".join(block) + "\n" if block else ""


def _named(file_name: str) -> str:
    return f" for {file_name}" if file_name else ""


def _opens(line: str) -> bool:
    fence = _FENCE.match(line)
    # "```x```" within a line is no fence.
    return fence is not None and not ("`" in fence["info"] and fence["marks"][0] == "`")


def _wraps_document(lines: list[str], start: int, file_name: str) -> bool:
    fence = _FENCE.match(lines[start])
    info = fence["info"].lower() if fence else ""
    if info in {"md", "markdown", "mdx", "rst", "text", "txt", PurePosixPath(file_name).suffix.lower().lstrip(".")}:
        return True
    # A bare fence around everything.
    return start == 0 and _end_of_block(lines, start) == len(lines) - 1


def _end_of_block(lines: list[str], start: int) -> int:
    """The line that closes the block; the number of lines if nothing does."""
    opening = _FENCE.match(lines[start])
    assert opening is not None
    mark, length = opening["marks"][0], len(opening["marks"])
    first_bare: int | None = None
    depth = 1
    for i in range(start + 1, len(lines)):
        fence = _FENCE.match(lines[i])
        if fence is None or fence["marks"][0] != mark:
            continue
        if fence["info"]:
            depth += _opens(lines[i])
        elif len(fence["marks"]) >= length or depth > 1:
            depth -= 1
            if first_bare is None and len(fence["marks"]) >= length:
                first_bare = i
            if depth == 0:
                return i
    # Blocks within were not closed as often as they were opened: no telling, so the first end counts.
    return len(lines) if first_bare is None else first_bare
