"""Text that can be encoded, and names of types."""

from __future__ import annotations

__all__ = ["clean_text", "type_name"]


def clean_text(text: str) -> str:
    """The text with lone surrogates spelled out, so that it can be encoded."""
    if type(text) is str and text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    # A subclass of str may print as something else.
    return text if type(text) is str else str.__str__(text)


def type_name(cls: type) -> str:
    """`module:Class`, as payloads name their type."""
    return clean_text(f"{cls.__module__}:{cls.__qualname__}")
