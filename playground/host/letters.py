"""Messages that nobody could handle, as clients see and name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from penguiflow.bus.protocol import DeadLetter
from penguiflow.recording.masking import Masker
from playground.queue_frames import LetterShown

__all__ = ["AmbiguousLetter", "chosen_letters", "shown_letter"]

MAX_SHOWN_BYTES = 16 * 1024
"""A payload that is larger is told by its size."""
MAX_NAMED = 5


class AmbiguousLetter(Exception):
    """The beginning of several ids."""


def chosen_letters(letters: Sequence[DeadLetter], ids: Sequence[str]) -> list[DeadLetter]:
    """Those that are meant. Raises `LookupError` and `AmbiguousLetter`."""
    meant: set[str] = set()
    for given in ids:
        names = {letter.id: letter.id.rpartition("/")[2] for letter in letters}
        found = {each for each, short in names.items() if given in (each, short)} or {
            each for each, short in names.items() if given and (each.startswith(given) or short.startswith(given))
        }
        found = found or {each for each in names if _begin_both(each, given)}
        if not found:
            raise LookupError(f"there is no dead letter {given!r}")
        if len(found) > 1:
            raise AmbiguousLetter(f"several dead letters begin with {given!r}: {', '.join(sorted(found)[:MAX_NAMED])}")
        meant |= found
    return [letter for letter in letters if letter.id in meant]


def _begin_both(letter_id: str, given: str) -> bool:
    """Whether the trace's part of an id and the message's begin like those that are given."""
    parts, beginnings = letter_id.rpartition("/"), given.rpartition("/")
    return "/" in given and all(part.startswith(begin) for part, begin in zip(parts, beginnings, strict=True))


def shown_letter(letter: DeadLetter, masker: Masker | None) -> LetterShown:
    """A body is two lines of JSON (see `penguiflow.bus.codec`); one that is not is told by its size."""
    head, _, payload = letter.body.partition(b"\n")
    shown = LetterShown(
        edge=letter.edge,
        id=letter.id,
        attempts=letter.attempts,
        reason=letter.reason,
        bytes=len(payload),
    )
    try:
        about = from_json(head)
        value = from_json(payload) if len(payload) <= MAX_SHOWN_BYTES else None
    except ValueError:
        return shown
    shown.trace_id = _trace_of(about)
    shown.payload = value if masker is None else masker.value(value)
    return shown


def _trace_of(about: Any) -> str | None:
    """The trace that a message belongs to, from its first line."""
    if not isinstance(about, dict):
        return None
    said = about.get("flow")
    found = said.get("trace") if isinstance(said, dict) else about.get("trace_id")
    return None if found is None else str(found)
