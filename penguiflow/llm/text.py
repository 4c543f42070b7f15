"""Text that comes in pieces: characters that were cut in two are put together again."""

from __future__ import annotations

import re
from dataclasses import replace

from penguiflow.llm.types import CompletionResponse, ContentPart, TextPart, ToolCallPart

__all__ = ["Joiner", "mended", "mended_response"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def mended(text: str) -> str:
    """The text with the halves of characters joined; a half that stands alone becomes U+FFFD."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mended_response(response: CompletionResponse) -> CompletionResponse:
    """The same with all of its texts mended: a log cannot have halves of characters."""
    reasoning = None if response.reasoning_content is None else mended(response.reasoning_content)
    parts = [_mended_part(part) for part in response.message.parts]
    if reasoning == response.reasoning_content and all(map(_same, parts, response.message.parts)):
        return response
    return replace(response, message=replace(response.message, parts=tuple(parts)), reasoning_content=reasoning)


def _mended_part(part: ContentPart) -> ContentPart:
    if isinstance(part, TextPart):
        text = mended(part.text)
        return part if text is part.text else replace(part, text=text)
    if isinstance(part, ToolCallPart):
        name, arguments = mended(part.name), mended(part.arguments_json)
        same = name is part.name and arguments is part.arguments_json
        return part if same else replace(part, name=name, arguments_json=arguments)
    return part


def _same(one: object, other: object) -> bool:
    return one is other


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
