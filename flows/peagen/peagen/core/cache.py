"""What was made before, by content: answers of models, and what was written last, the base of a merge.

What is kept outlives the process. A machine that loses its power may lose what came last, but half of it is never
taken for all: it is checked when it is read. Both are under `.peagen/` and may be deleted at any time: answers are then
asked for again, and where a person changed a file it cannot be merged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peagen.core.lock import STATE_DIR, prepare_state, replace_file


def sha(content: bytes | str) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha_of(value: Any) -> str:
    """The hash of a value of plain data: the same for the same, whatever the order of its keys."""
    return sha(json.dumps(_named(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str))


def _named(value: Any) -> Any:
    """The value with texts for keys: YAML has others, which cannot be put in order with these."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else f"{type(key).__name__} {key}": _named(of) for key, of in value.items()}
    return [_named(each) for each in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said to one prompt."""

    text: str
    """As it was said."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """In US dollars; None when it is not known."""
    finish_reason: str | None = None


class AnswerCache:
    """Answers by the hash of all that was asked."""

    def __init__(self, root: Path) -> None:
        self._state = root / STATE_DIR
        self._folder = self._state / "cache"

    def get(self, key: str) -> Answer | None:
        """The answer, if there is one; one that cannot be read is none."""
        try:
            return Answer(**json.loads(self._path(key).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; when this returns it outlives the process."""
        path = self._path(key)
        prepare_state(self._state)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(asdict(answer), ensure_ascii=False).encode())

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


class Objects:
    """What was generated, by its hash."""

    def __init__(self, root: Path) -> None:
        self._state = root / STATE_DIR
        self._folder = self._state / "objects"

    def get(self, digest: str) -> bytes | None:
        """The content, if it is there and whole."""
        try:
            content = (self._folder / digest).read_bytes()
        except OSError:
            return None
        return content if sha(content) == digest else None

    def put(self, content: bytes) -> str:
        """Keep content; returns its hash."""
        digest = sha(content)
        path = self._folder / digest
        if not path.exists():
            prepare_state(self._state)
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
        return digest

    def prune(self, wanted: Collection[str]) -> None:
        """Forget what nobody refers to any more."""
        keep = frozenset(wanted)
        with contextlib.suppress(FileNotFoundError):
            for path in list(self._folder.iterdir()):
                if path.name not in keep:
                    with contextlib.suppress(OSError):  # it is only in the way
                        path.unlink()
