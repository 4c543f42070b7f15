"""Jump mode: every tab in sight gets a letter, and the letter brings it to the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from playground.dashboard.closing import ClosesOnce
from playground.dashboard.pane import Pane
from playground.dashboard.views.base import View

LETTERS = "asdfghjklwertyuiopcvbnm"


class Target(NamedTuple):
    """What a letter stands for."""

    pane: Pane
    view: View


def label(panes: Sequence[Pane]) -> dict[str, Target]:
    """Put a letter on every tab of the panes in sight; what each stands for."""
    found: dict[str, Target] = {}
    for pane in panes:
        given = ""
        for view in pane.views if pane.region.area else ():
            if len(found) < len(LETTERS):
                letter = LETTERS[len(found)]
                found[letter] = Target(pane, view)
                given += letter
        pane.letters = given
        pane.refresh()
    return found


class JumpScreen(ClosesOnce, ModalScreen[Target | None]):
    """Waits for one key over the panes; one that is no letter of theirs leaves everything as it is."""

    DEFAULT_CSS = "JumpScreen { background: transparent; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+o", "dismiss(None)", "Close", show=False)]

    def __init__(self, targets: dict[str, Target]) -> None:
        super().__init__()
        self._targets = targets

    def on_key(self, event: events.Key) -> None:
        """Go where the letter stands."""
        event.stop()
        event.prevent_default()
        self.dismiss(self._targets.get(event.character or ""))

    def on_unmount(self) -> None:
        """Take the letters away."""
        for pane in {target.pane for target in self._targets.values()}:
            pane.letters = ""
            pane.refresh()
