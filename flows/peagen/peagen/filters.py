"""The filters that template sets rely on, beyond Jinja's own: `split`, `make_singular`, `make_plural`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any


def split(text: str, delimiter: str | None = None) -> list[str]:
    """The parts of `text` between `delimiter`; between any space without one."""
    return str(text).split(delimiter)


def make_singular(word: str) -> str:
    """The singular of an English noun; the word itself if it is no plural."""
    return str(word) and (_english().singular_noun(str(word)) or str(word))


def make_plural(word: str) -> str:
    """The plural of an English noun."""
    return str(word) and str(_english().plural(str(word)))


FILTERS: dict[str, Callable[..., Any]] = {
    "split": split,
    "make_singular": make_singular,
    "make_plural": make_plural,
}


@cache
def _english() -> Any:
    # inflect has its functions rewritten by typeguard when it is imported, which takes 1.5 s; what is given
    # to it here is always text.
    plain = ModuleType("typeguard")
    plain.typechecked = lambda target: target  # type: ignore[attr-defined]
    absent = "typeguard" not in sys.modules
    if absent:
        sys.modules["typeguard"] = plain
    try:
        import inflect
    finally:
        if absent:
            del sys.modules["typeguard"]
    return inflect.engine()
