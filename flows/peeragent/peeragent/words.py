"""Words that say little, and lists of words."""

from __future__ import annotations


def listed(text: str) -> tuple[str, ...]:
    """The words of a text that is a list of them."""
    return tuple(text.split())


STOP = frozenset(
    listed(
        """
        a about all also an and any are as at be been but by can could did do does for from had has have how i if in
        into is it its latest me more most my of on or our please research should so some tell than that the their
        them there they this to too up us was we were what when where which who why will with would write you your
        explain describe give article blog post define
        """
    )
)
"""Words that say nothing of what a text is about."""
