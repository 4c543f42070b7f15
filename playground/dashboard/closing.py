"""Screens that close once, however often they are told to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from textual.await_complete import AwaitComplete

if TYPE_CHECKING:
    from textual.screen import Screen

    _Base = Screen[Any]
else:
    # Styles come from the first base that is a widget: this must be none.
    _Base = object


class ClosesOnce(_Base):
    """Comes before the kind of screen in a class's bases.

    Of keys that come faster than a screen closes, the second Enter would take away the screen below it, and with the
    last one the app.
    """

    def dismiss(self, result: Any = None) -> AwaitComplete:
        """Close, and give the result to whoever opened this; nothing when it is closed, or not in front."""
        return super().dismiss(result) if self.is_active else nothing()


def nothing() -> AwaitComplete:
    """What closing gives where there is nothing to close."""
    return AwaitComplete(asyncio.sleep(0))
