"""Text that comes in pieces: characters that were cut in two are put together again."""

from __future__ import annotations

import re

__all__ = ["Joiner", "mended"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def mended(text: str) -> str:
    """The text with the halves of characters joined; a half that stands alone becomes U+FFFD."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Joiner:
    """Takes pieces of a text, and gives pieces that have no half of a character in them."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """What can be said by now; the first half of a character is kept until the second comes."""
        text = self._half + piece
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        return mended(text[:-1] if self._half else text)

    def end(self) -> str:
        """What is left: nothing, or U+FFFD for a half whose other half did not come."""
        left, self._half = self._half, ""
        return mended(left)
