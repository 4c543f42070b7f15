"""What a file is: its language, its lines, and the names that it defines at the top.

**Language** is told by the file's name; a text with a name that tells nothing is `text`. A file with a NUL byte in its
first 8 KiB is `binary` (git's rule), unless it begins with a byte order mark of UTF-16 or UTF-32.

**Lines** end in a newline; a last one without it counts too. A binary file has none.

**Definitions** are the top-level classes and functions of Python (from its syntax tree), the headings of Markdown, and
for the other languages what a line that begins like a definition names. Files over 4 MiB are counted piece by piece
and not looked into.
"""

from __future__ import annotations

import ast
import codecs
import errno
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

LARGEST_SOURCE = 4 * 1024 * 1024
"""Bytes of the largest file that is looked into for definitions."""
LARGEST_TREE = 256 * 1024
"""Bytes of the largest Python file that gets a syntax tree: a tree holds the interpreter up while it is made."""
LONGEST_LINE = 400
"""Characters of a line that are looked at for definitions: what is longer was not written by hand."""
PIECE = 1024 * 1024
HEAD = 8 * 1024

LANGUAGES = {
    "c": "c", "h": "c", "cc": "c++", "cpp": "c++", "cxx": "c++", "hpp": "c++", "cs": "c#", "css": "css", "csv": "csv",
    "go": "go", "htm": "html", "html": "html", "java": "java", "cjs": "javascript", "js": "javascript",
    "jsx": "javascript", "mjs": "javascript", "json": "json", "jsonl": "json", "kt": "kotlin", "lua": "lua",
    "markdown": "markdown", "md": "markdown", "php": "php", "py": "python", "pyi": "python", "pyw": "python",
    "rb": "ruby", "rs": "rust", "bash": "shell", "sh": "shell", "zsh": "shell", "sql": "sql", "svg": "svg",
    "swift": "swift", "toml": "toml", "mts": "typescript", "ts": "typescript", "tsx": "typescript", "xml": "xml",
    "yaml": "yaml", "yml": "yaml",
}  # fmt: skip
"""Language by the ending of the name, in lower case."""
NAMED = {"dockerfile": "dockerfile", "makefile": "makefile"}
"""Language by the whole name, in lower case."""

_MODIFIERS = r"(?:(?:public|protected|private|internal|abstract|final|static|sealed|partial|strictfp|open|data) +)*"
_SCRIPT = re.compile(
    r"^(?:export +)?(?:default +)?(?:declare +)?(?:abstract +)?"
    r"(?:(?:async +)?function\b *(?:\* *)?|class +|interface +|enum +|type +(?=\w+ *[=<])|namespace +)(?P<name>[\w$]+)"
    r"|^(?:export +)?(?:const|let|var) +(?P<arrow>[\w$]+)(?: *:(?:[^=\n]|=>){0,200}?)? *= *(?:async *)?"
    r"(?:function\b|\w+ *=>|\([^()\n]{0,200}\)[^=\n]{0,100}=>)",
    re.MULTILINE,
)
_C = re.compile(
    r"^(?:typedef +)?(?:struct|union|enum|class|namespace)(?: +class)? +(?P<name>\w+)(?=[^;()\n]{0,200}(?:\{|$))"
    r"|^(?!typedef\b|return\b|else\b|using\b|extern +\")[A-Za-z_][\w:<>,*& ]{0,120}?[ *&]"
    r"(?P<function>[A-Za-z_][\w:~]*) *\([^;{}]{0,500}\)[^;{}()=]{0,80}\{",
    re.MULTILINE,
)
RULES = {
    "c": _C,
    "c++": _C,
    "c#": re.compile(rf"^(?: {{4}})?{_MODIFIERS}(?:class|interface|enum|struct|record) +(?P<name>\w+)", re.MULTILINE),
    "go": re.compile(r"^(?:func +(?:\([^()\n]{0,200}\) *)?|type +)(?P<name>\w+)", re.MULTILINE),
    "java": re.compile(rf"^{_MODIFIERS}(?:class|interface|enum|record|@interface) +(?P<name>\w+)", re.MULTILINE),
    "javascript": _SCRIPT,
    "python": re.compile(r"^(?:async +def|def|class) +(?P<name>\w+)", re.MULTILINE),
    "rust": re.compile(
        r"^(?:pub(?:\([^()\n]{0,80}\))? +)?(?:(?:async|const|unsafe|extern(?: +\"[^\"\n]{0,20}\")?) +)*"
        r"(?:fn|struct|enum|trait|union|type|mod) +(?P<name>\w+)"
        r"|^macro_rules! +(?P<macro>\w+)",
        re.MULTILINE,
    ),
    "typescript": _SCRIPT,
}
"""What a definition begins like; the group that matched is its name."""

_HEADING = re.compile(r" {0,3}#{1,6}(?=[ \t]|$)")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PARSING = threading.Lock()
"""Held while a syntax tree is made with warnings off, which concerns the whole process."""


class Source(NamedTuple):
    """What there is to say about a file."""

    bytes: int
    lines: int
    language: str
    definitions: list[str]


class NotAFileError(OSError):
    """The path leads to something that is no regular file."""


def read_source(location: Path) -> Source:
    """Look at a file. Raises `OSError`, `NotAFileError` among them."""
    file, size = _open(location)
    with file:
        # One byte more than expected tells of a file that is larger: too large, growing, or of no size, as in /proc.
        expected = min(size, LARGEST_SOURCE)
        data = file.read(expected + 1)
        encoding = _encoding(data[:HEAD])
        if encoding is None:
            return Source(size, 0, "binary", [])
        language = language_of(location.name)
        if len(data) > expected:
            size, lines = _count(data, file, encoding)
            return Source(size, lines, language, [])
    text = data.decode(encoding, "replace")
    return Source(len(data), _lines(text), language, definitions(text, language))


def language_of(name: str) -> str:
    """The language that a file's name tells; `text` when it tells none."""
    lowered = name.lower()
    return NAMED.get(lowered) or LANGUAGES.get(lowered.rpartition(".")[2] if "." in lowered else "", "text")


def definitions(text: str, language: str) -> list[str]:
    """The names that a text defines at the top, in their order."""
    if language == "python" and len(text) <= LARGEST_TREE:
        names = _python_names(text)
        if names is not None:
            return names
    rule = RULES.get(language)
    if rule is None and language != "markdown":
        return []
    lines = [line[:LONGEST_LINE].rstrip("\r") for line in text.split("\n")]
    if rule is None:
        return list(_headings(lines))
    return [match[match.lastgroup or 0] for match in rule.finditer("\n".join(lines))]


def _open(location: Path) -> tuple[BinaryIO, int]:
    """The file and its size in bytes."""
    # The walk saw a regular file here. Should it have become a pipe or a link meanwhile: neither wait nor follow.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(location, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise NotAFileError(*error.args) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise NotAFileError(errno.EINVAL, "no regular file")
    return os.fdopen(descriptor, "rb"), status.st_size


def _encoding(head: bytes) -> str | None:
    """How to read a text that begins with `head`; None for a binary."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    return None if b"\0" in head else "utf-8"


def _count(piece: bytes, file: BinaryIO, encoding: str) -> tuple[int, int]:
    """Bytes and lines of a file of which `piece` is read already, without ever holding all of it."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    size = lines = 0
    last = ""
    while piece:
        size += len(piece)
        text = decoder.decode(piece)
        lines += text.count("\n")
        last = text[-1:] or last
        piece = file.read(PIECE)
    last = decoder.decode(b"", final=True)[-1:] or last
    return size, lines + (last not in ("", "\n"))


def _lines(text: str) -> int:
    return text.count("\n") + (text != "" and not text.endswith("\n"))


def _python_names(text: str) -> list[str] | None:
    """Top-level classes and functions; None for what is no Python of this version."""
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [statement.name for statement in tree.body if isinstance(statement, kinds)]


def _headings(lines: list[str]) -> Iterator[str]:
    """The titles of `#` headings outside of fenced code."""
    fence = ""
    for line in lines:
        if opening := _FENCE.match(line):
            mark = opening["fence"]
            if not fence:
                fence = mark
            elif mark.startswith(fence) and not line.strip().strip(mark[0]):
                fence = ""
        elif not fence and (heading := _HEADING.match(line)):
            title = line[heading.end() :].strip()
            closed = title.rstrip("#")
            yield closed.rstrip() if not closed or closed[-1] in " \t" else title
