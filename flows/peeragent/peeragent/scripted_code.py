"""The programs that the scripted model knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from peeragent.words import STOP, listed

_TOPICS: tuple[tuple[str, str], ...] = (
    ("palindrome", r"palindrom"),
    ("fibonacci", r"fibonacci"),
    ("factorial", r"factorial"),
    ("prime", r"prime"),
    ("fizzbuzz", r"fizz"),
    ("search", r"binary search"),
    ("even", r"\b(?:even|odd)\b"),
    ("anagram", r"anagram"),
    ("vowels", r"vowel"),
    ("words", r"count(?:s|ing)? (?:the )?words|word count|frequenc"),
    ("gcd", r"\bgcd\b|greatest common"),
    ("duplicates", r"duplicate|unique"),
    ("flatten", r"flatten"),
    ("temperature", r"celsius|fahrenheit"),
    ("email", r"valid\w* (?:an )?e-?mail|e-?mail valid"),
    ("password", r"password"),
    ("stack", r"\bstack\b"),
    ("queue", r"\bqueue\b"),
    ("linked", r"linked list"),
    ("decorator", r"decorator"),
    ("retry", r"\bretry"),
    ("json", r"\bjson\b"),
    ("csv", r"\bcsv\b|spreadsheet"),
    ("maximum", r"\b(?:max(?:imum)?|largest|biggest|min(?:imum)?|smallest)\b"),
    ("http", r"\bapi\b|endpoint|http|\brest\b"),
    ("reverse", r"revers|backwards|umdreh"),
    ("sort", r"\bsort"),
    ("sum", r"\bsum|\badd(?:s|ing)?\b|average|mean"),
    ("hello", r"hello|greet"),
)

_HEAD = re.compile(r"^## (\w+) (\w+)\n(.*)\n\n", re.MULTILINE)


@cache
def programs() -> dict[str, dict[str, tuple[str, str]]]:
    """Code and explanation, by topic and language; see `programs.txt`."""
    text = (files("peeragent") / "programs.txt").read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for head, end in zip(heads, ends, strict=True):
        found.setdefault(head[1], {})[head[2]] = (text[head.end() : end].strip("\n"), head[3])
    return found


_FRAMES: dict[str, str] = {
    "python": 'def {name}(value: object) -> object:\n    """{task}"""\n    return value',
    "javascript": "// {task}\nfunction {name}(value) {\n  return value;\n}",
    "typescript": "// {task}\nexport function {name}<T>(value: T): T {\n  return value;\n}",
    "java": "// {task}\nstatic <T> T {name}(T value) {\n    return value;\n}",
    "go": "// {task}\nfunc {name}(value any) any {\n\treturn value\n}",
    "rust": "/// {task}\nfn {name}<T>(value: T) -> T {\n    value\n}",
    "bash": '#!/usr/bin/env bash\n# {task}\nset -euo pipefail\nprintf "%s\\n" "$@"',
    "html": "<!doctype html>\n<title>{name}</title>\n<p>{task}</p>",
}
_STOP = STOP | frozenset(listed("create implement function script program code"))


def program(parts: Mapping[str, str]) -> str:
    """The program that fits the task, in a fence, with a sentence about it."""
    task, language = parts.get("task", ""), parts.get("language", "python")
    if language == "sql":
        return _fenced("sql", *_query(task))
    text = f"{task}\n{parts.get('conversation', '')}"
    for topic, words in _TOPICS:
        known = programs().get(topic, {})
        if re.search(words, text, re.IGNORECASE):
            chosen = language if language in known else None
            if chosen is None and language == "typescript" and "javascript" in known:
                return _fenced("typescript", *known["javascript"])
            if chosen is not None:
                return _fenced(chosen, *known[chosen])
    named = [word for word in re.findall(r"[A-Za-z]+", task.casefold()) if word not in _STOP | {language}][:4]
    shown = " ".join(task.replace("*/", "").replace('"""', "'''").split())[:100]
    frame = _FRAMES.get(language, "# {task}")
    code = frame.replace("{name}", "_".join(named) or "solve").replace("{task}", shown)
    explanation = "The scripted model knows common programs only; this is a frame. Set a key for a real answer."
    return _fenced(language, code, explanation)


def _fenced(language: str, code: str, explanation: str) -> str:
    return f"```{language}\n{code}\n```\n\n{explanation}"


def _query(task: str) -> tuple[str, str]:
    """A query over what the task names."""
    text = task.casefold()
    top = re.search(r"\b(?:top|first|best|last)\s+(\d{1,4})", text)
    noun = re.search(r"(?:top|first|best|last)\s+\d+\s+([a-z]+)|(?:all|find|select|list|of|the)\s+([a-z]+s)\b", text)
    table = next((group for group in (noun.groups() if noun else ()) if group), "customers")
    by = re.search(r"\bby\s+(?:total\s+)?([a-z]+)", text)
    measure = by[1] if by else "amount"
    limit = top[1] if top else "10"
    one = table.removesuffix("s") or "item"
    if top or by:
        code = (
            f"SELECT {one}_id, SUM(amount) AS {measure}\nFROM orders\nGROUP BY {one}_id\n"
            f"ORDER BY {measure} DESC\nLIMIT {limit};"
        )
        return code, f"Adds up the amounts for each {one} and returns the top {limit} by {measure}."
    return f"SELECT *\nFROM {table}\nORDER BY id\nLIMIT {limit};", f"Returns the first {limit} {table}."
