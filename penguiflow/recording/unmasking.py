"""Secrets are filled in again, as far as they are known, where masking.py has put marks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from penguiflow.recording.masking import LOOKS_LIKE_KEY, OPEN
from penguiflow.recording.shapes import escape

__all__ = ["unmask"]

_MARK = re.compile(r"⟦\$(?:(?P<literal>\$)|secret (?P<secret>env:[^⟧]*|hmac:[0-9a-f]+)⟧)")


def unmask(
    value: Any,
    environment: Mapping[str, str] | None = None,
    *,
    at: str = "",
    given: Callable[[str, str], str | None] | None = None,
    lost: Callable[[str], str] | None = None,
) -> tuple[Any, list[str]]:
    """A stored value with the secrets of the environment filled in again, and where others, or missing ones, stand.

    The places are JSON Pointers, with `at` in front. `given` may know a secret by its place and mark (`hmac:…`); `lost`
    gives what is to stand for one that is missing, in place of the mark.
    """
    filler = _Filler(os.environ if environment is None else environment, given, lost)
    return filler.fill(value, at), filler.missing


class _Filler:
    """Puts secrets where their marks are."""

    def __init__(
        self,
        environment: Mapping[str, str],
        given: Callable[[str, str], str | None] | None,
        lost: Callable[[str], str] | None,
    ) -> None:
        self._environment = environment
        self._given = given
        self._lost = lost
        self.missing: list[str] = []

    def fill(self, value: Any, at: str) -> Any:
        if isinstance(value, str):
            return self._text(value, at)
        if isinstance(value, dict):
            secret = value.get("$secret")
            if len(value) == 1 and isinstance(secret, str):
                return self._secret(secret, at, value)
            filled = {}
            for key, item in value.items():
                name = self._text(_plain_key(key), at)
                filled[name] = self.fill(item, f"{at}/{escape(name)}")
            return filled
        if isinstance(value, list):
            return [self.fill(item, f"{at}/{index}") for index, item in enumerate(value)]
        return value

    def _text(self, text: str, at: str) -> str:
        def fill(match: re.Match[str]) -> str:
            return OPEN if match["literal"] else str(self._secret(match["secret"], at, match[0]))

        return _MARK.sub(fill, text) if OPEN in text else text

    def _secret(self, mark: str, at: str, written: Any) -> Any:
        name = mark.removeprefix("env:")
        if name != mark and name in self._environment:
            return self._environment[name]
        known = None if self._given is None else self._given(at, mark)
        if known is not None:
            return known
        if at not in self.missing:
            self.missing.append(at)
        return written if self._lost is None else self._lost(mark)


def _plain_key(key: str) -> str:
    return key[1:] if key.startswith("$$") and LOOKS_LIKE_KEY.fullmatch(key) else key
