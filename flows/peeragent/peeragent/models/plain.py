"""What comes as JSON and is kept as JSON must be JSON that everybody reads again."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator

MAX_DEPTH = 64
"""Objects and lists within each other. Readers of JSON stop somewhere, and not all at the same depth."""


def plain_json(value: Any) -> Any:
    """The value, if all of it can be written and read again. Raises `ValueError`, which says what cannot.

    Python's JSON takes numbers without end, halves of characters, and any depth; other readers take none of them.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                for name in each:
                    _text(name)
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str):
                _text(each)
            elif isinstance(each, float) and not math.isfinite(each):
                raise ValueError("a number must be finite")
        if not below:
            return value
        level = below
    raise ValueError(f"at most {MAX_DEPTH} objects or lists may stand within each other")


def _text(given: str) -> None:
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError:
            raise ValueError("a text has half of a character (a lone surrogate)") from None


PlainData = Annotated[dict[str, Any], AfterValidator(plain_json)]
"""An object from outside."""
