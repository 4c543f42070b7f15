"""The screen with the edges of a distributed flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from textual.binding import Binding, BindingType

from playground.dashboard.watching.pane_screen import PaneScreen
from playground.dashboard.watching.queue_rows import Letters, QueueView

EVERY_S = 2.0
"""How often the host is asked."""
MOST_LETTERS = 100
"""Of an edge."""


class QueuesScreen(PaneScreen):
    """Asks the host again and again, and has it put back and drop dead letters."""

    NAME = "queues"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("Q", "back", "Back", show=False),
        Binding("p", "change_letters('retry')", "Put back", show=False),
        Binding("d", "change_letters('drop')", "Drop", show=False),
    ]
    view: QueueView

    def __init__(self, targets: Sequence[str], target: str) -> None:
        """`targets` are the distributed flows, `target` is the one to show."""
        super().__init__()
        self._targets = list(targets)
        self._target = target
        self.view = QueueView()
        self.view.turn = self._turn
        self._asked = 0
        """Questions without an answer yet."""

    def on_mount(self) -> None:
        """Ask again from time to time; the base class, which is told of it too, asks now."""
        self.set_interval(EVERY_S, self._again)

    def _again(self) -> None:
        # A bus that is away is told of after some seconds: asked anew meanwhile, it never would be.
        if not self._asked:
            self.action_refresh()

    async def _ask(self) -> None:
        self._asked += 1
        try:
            await self._show()
        finally:
            self._asked -= 1

    async def _show(self) -> None:
        from playground.protocol import QueuesGet

        target = self._target
        # Boundary to the host and its bus: whatever goes wrong there, the screen says so.
        try:
            source = self._dashboard.control.source
            if source is None:
                raise RuntimeError("not ready yet")
            found = await source.queues(QueuesGet(target=target, letters=True, limit=MOST_LETTERS))
        except Exception as error:
            self.view.tell(f"{target}: {error}")
        else:
            if target == self._target:
                self.view.show(found)
        self._pane.redraw_if_changed()

    def _turn(self, direction: int) -> None:
        """Another distributed flow."""
        if len(self._targets) > 1:
            number = self._targets.index(self._target) + direction
            self._target = self._targets[number % len(self._targets)]
            self.view.tell("asking …")
            self._pane.redraw_if_changed()
            self.action_refresh()

    def action_change_letters(self, change: Literal["retry", "drop"]) -> None:
        """Ask whether the dead letters at the cursor are to be put back, or dropped, and do it."""
        from playground.dashboard.travel.ask_screen import AskScreen

        letters = self.view.letters
        if letters is None:
            self._dashboard.say("the cursor is on no dead letter, nor on an edge that has some", "warning")
            return
        several = letters.id is None and letters.many > 1
        what = f"all {letters.many:,} dead letters" if several else "this dead letter"
        verb = "Put back" if change == "retry" else "Drop"
        about = [f"{verb} {what} of {letters.edge}."]
        if change == "drop":
            about.append("They are gone for good; the runs that sent them have failed already.")
        does = "puts back" if change == "retry" else "drops"

        def answered(wanted: dict[str, str] | None) -> None:
            if wanted is not None:
                self.run_worker(self._change(change, letters), exit_on_error=False)

        self.app.push_screen(AskScreen("DEAD LETTERS", about, does=does), answered)

    async def _change(self, change: Literal["retry", "drop"], letters: Letters) -> None:
        from playground.protocol import LettersEdit

        request = LettersEdit(
            target=self._target, change=change, edge=letters.edge, ids=[] if letters.id is None else [letters.id]
        )
        # Boundary to the host and its bus: whatever goes wrong there, the dashboard says so.
        try:
            source = self._dashboard.control.source
            if source is None:
                raise RuntimeError("not ready yet")
            done = await source.queues(request)
        except Exception as error:
            self._dashboard.say(str(error), "error")
            return
        word = "put back" if change == "retry" else "dropped"
        self._dashboard.say(f"{len(done.changed):,} {word}")
        if done.full:
            self._dashboard.say(f"{', '.join(done.full)} has no room for the others, and nobody makes any", "warning")
        self.action_refresh()
