"""What every match of a regular expression holds: the words by which most events are passed over."""

from __future__ import annotations

import re

MIN_LETTERS = 3
_SPECIAL = "\\(){}*+?|.^$[]"
_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]")
_UNSURE = re.compile(r"\||\(\?|\[\[|\\[^dDsSwWbBAZ\W]|\\[_\d]")
"""Alternatives, flags, sets of sets, and escapes whose letters do not stand for themselves."""
_STEP = re.compile(r"\\.|[(){}*+?|.^$\[\]]|[^\\(){}*+?|.^$\[\]]+", re.DOTALL)


def certain(expression: str) -> str:
    """The longest text that any match must hold, as it is written; empty where none is sure.

    Only what stands for itself counts, outside of groups, classes and alternatives.
    """
    if _UNSURE.search(expression):
        return ""
    depth, found, run = 0, "", ""
    for step in _STEP.findall(_CLASS.sub(".", expression)):
        if step[0] not in _SPECIAL:
            run = "" if depth else step
            found = max(found, run, key=len)
            continue
        if step in "*?{" and run and found == run:
            # The last letter may be missing.
            found = run[:-1]
        depth = max(depth + (step in "({") - (step in ")}"), 0)
        run = ""
    return found if len(found) >= MIN_LETTERS else ""
