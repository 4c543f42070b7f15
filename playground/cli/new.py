"""`pf new`: a small project that runs, and whose test passes, at once."""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.dashboard.text import one_line

__all__ = ["NewOutput", "make_project"]

_NAME = re.compile("[A-Za-z][A-Za-z0-9_-]{0,63}")

_PYPROJECT = """\
[project]
name = "{name}"
version = "0.1.0"
description = "A flow made with penguiflow."
requires-python = ">=3.11"
dependencies = ["penguiflow[playground]"]

[dependency-groups]
dev = ["pytest>=8"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
"""

_FLOW = '''\
"""Counts the words of a text and says which are used most.

Try it: `pf run flows/{module}.py --input '{{"text": "to be or not to be"}}'`
"""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, Field

from penguiflow import Context, ModelRegistry, Node, NodePolicy, create


class Text(BaseModel):
    """What comes in."""

    text: str
    top: int = Field(default=3, ge=1, description="How many words to name.")


class Words(BaseModel):
    """Its words, in small letters."""

    words: list[str]
    top: int


class Summary(BaseModel):
    """What comes out."""

    total: int
    most_used: dict[str, int]


async def split(text: Text, ctx: Context) -> Words:
    """Take a text apart."""
    words = [word.strip(".,;:!?\\"'()").lower() for word in text.text.split()]
    return Words(words=[word for word in words if word], top=text.top)


async def count(words: Words, ctx: Context) -> Summary:
    """Count them."""
    return Summary(total=len(words.words), most_used=dict(Counter(words.words).most_common(words.top)))


split_node = Node(split, name="split")
count_node = Node(count, name="count", policy=NodePolicy(max_retries=1, timeout_s=5))

flow = create(split_node.to(count_node))

registry = ModelRegistry()
registry.register("split", Text, Words)
registry.register("count", Words, Summary)

__flow__ = {{"title": "Count words", "samples": [{{"text": "to be or not to be"}}]}}
'''

_TEST = '''\
"""The flow counts what it should."""

from __future__ import annotations

import asyncio

from flows.{module} import Summary, Text, count_node, registry, split_node
from penguiflow import create


async def ask(text: Text) -> Summary:
    """The flow's answer."""
    flow = create(split_node.to(count_node))
    flow.run(registry=registry)
    try:
        return await flow.call(text, timeout=10)
    finally:
        await flow.stop()


def test_words_are_counted() -> None:
    answer = asyncio.run(ask(Text(text="To be, or not to be!", top=2)))
    assert answer == Summary(total=6, most_used={{"to": 2, "be": 2}})


def test_a_text_without_words_has_none() -> None:
    assert asyncio.run(ask(Text(text=" . "))) == Summary(total=0, most_used={{}})
'''

_README = """\
# {name}

A flow made with [penguiflow](https://pypi.org/project/penguiflow/): `flows/{module}.py` counts the words of a text.

```sh
pf run flows/{module}.py --input '{{"text": "to be or not to be"}}'
pytest
```

| command | what it does |
| --- | --- |
| `pf tui` | runs it, shows what happens, and takes each save of your code into the next run |
| `pf inspect last` | what ran in the last run, and how long it took |
| `pf run flows/{module}.py --stop-first` | runs it step by step, and lets you change what comes |
| `pf test last -o tests/test_recorded.py` | keeps the last run as a test that replays it |
"""

_GITIGNORE = """\
.penguiflow/
__pycache__/
.venv/
"""


class NewOutput(BaseModel):
    """`pf new --json`: what was made."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    project: str
    """The folder."""
    files: list[str]
    """In it."""


def make_project(name: str, *, json: bool) -> int:
    """Make a folder with a project; returns the exit code."""
    folder = Path(name)
    module = _module(folder.name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(f"{one_line(name)} exists already, and is not empty", hint="choose another name")
    files = {
        "pyproject.toml": _PYPROJECT.format(name=folder.name),
        "README.md": _README.format(name=folder.name, module=module),
        ".gitignore": _GITIGNORE,
        f"flows/{module}.py": _FLOW.format(module=module),
        f"tests/test_{module}.py": _TEST.format(module=module),
    }
    _write(folder, files)
    console = Console()
    if json:
        output = NewOutput(schema=1, project=str(folder.absolute()), files=sorted(files))
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
        return ExitCode.DONE
    for file in sorted(files):
        console.line(f"{one_line(name)}/{file}")
    console.tell(
        f'try it: cd {one_line(name)} && pf run flows/{module}.py --input \'{{"text": "to be or not to be"}}\''
    )
    return ExitCode.DONE


def _module(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        told = f"{one_line(name)!r} is no name for a project"
        raise Failure(told, hint="letters, digits, - and _, a letter first")
    module = name.lower().replace("-", "_")
    return f"{module}_flow" if keyword.iskeyword(module) or module in _TAKEN else module


_TAKEN = frozenset({"penguiflow", "playground", "pytest", "flows", "tests", "conftest"})
"""Modules that a project's flow must not look like."""


def _write(folder: Path, files: dict[str, str]) -> None:
    """All of them, or none."""
    new = not folder.exists()
    try:
        for file, text in files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise Failure(f"{error.filename or folder} cannot be written: {error.strerror}") from None
