"""Functions that the scripted model knows: their bodies, by name and parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Body:
    """How a function is written, without indentation."""

    lines: str
    imports: tuple[str, ...] = ()


_SPLIT = "from .words import split_words"

KNOWN: dict[str, Body] = {
    "greet(name)": Body('return f"Hello, {name}!"'),
    "split_words(text)": Body('return re.findall(r"[^\\W_]+(?:\'[^\\W_]+)*", text)', ("import re",)),
    "word_count(text)": Body("return len(split_words(text))"),
    "most_common(text, limit)": Body(
        "return Counter(word.lower() for word in split_words(text)).most_common(limit)",
        ("from collections import Counter",),
    ),
    "slugify(text, separator)": Body(
        'plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()\n'
        'return separator.join(split_words(plain.lower().replace("\'", "")))',
        ("import unicodedata", _SPLIT),
    ),
    "wrap(text, width)": Body(
        "lines: list[str] = []\n"
        "for word in text.split():\n"
        "    if lines and len(lines[-1]) + 1 + len(word) <= width:\n"
        '        lines[-1] += f" {word}"\n'
        "    else:\n"
        "        lines.append(word)\n"
        "return lines"
    ),
    "shorten(text, width)": Body(
        "words = text.split()\n"
        'whole = " ".join(words)\n'
        "if len(whole) <= width:\n"
        "    return whole\n"
        'while words and len(" ".join(words)) + 1 > width:\n'
        "    words.pop()\n"
        'return " ".join(words) + "…"'
    ),
}
