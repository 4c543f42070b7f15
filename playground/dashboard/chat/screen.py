"""The screen for talking: sessions, the conversation, and a line to type in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Input

from playground.dashboard.bars import Key, KeyBar, StatusBar
from playground.dashboard.chat.inputs import answer_hint
from playground.dashboard.chat.model import Conversation
from playground.dashboard.chat.views import ConversationView, SessionsView
from playground.dashboard.closing import ClosesOnce
from playground.dashboard.inorder import Line
from playground.dashboard.pane import Pane
from playground.dashboard.text import Row, clip, one_line

if TYPE_CHECKING:
    from playground.dashboard.chat.talking import Talking
    from playground.dashboard.palette import Palette

KEYS = [
    Key("⏎", "send", "screen.submit"),
    Key("ctrl+n", "new session", "screen.new_session"),
    Key("ctrl+x", "cancel", "screen.cancel"),
    Key("ctrl+r", "its run", "screen.go"),
    Key("tab", "pane", "screen.next_pane(1)"),
    Key("esc", "leave", "screen.leave"),
    Key("F1", "help", "screen.help"),
]
NARROW = 72
"""In a narrower terminal there is no room for the sessions beside the conversation."""


class ChatLine(Line):
    """Where one types; the arrow up brings back what was said before."""

    DEFAULT_CSS = """
    ChatLine, ChatLine:focus { height: 1; border: none; padding: 0 1; background: $surface; color: $foreground; }
    """


class ChatScreen(ClosesOnce, Screen[str | None]):
    """A conversation with a flow. Gives the run to go to, or None."""

    DEFAULT_CSS = """
    ChatScreen { background: $background; layout: vertical; }
    ChatScreen > Horizontal { height: 1fr; }
    ChatScreen #chat-sessions { width: 28; }
    ChatScreen #chat-turns { width: 1fr; }
    ChatScreen.-narrow #chat-sessions { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("tab", "next_pane(1)", "Next pane", show=False, priority=True),
        Binding("shift+tab", "next_pane(-1)", "Previous pane", show=False, priority=True),
        Binding("ctrl+n", "new_session", "New session", show=False, priority=True),
        Binding("ctrl+x", "cancel", "Cancel", show=False, priority=True),
        Binding("ctrl+r", "go", "Its run", show=False, priority=True),
        Binding("up", "recall(-1)", "Said before", show=False),
        Binding("down", "recall(1)", "Said after", show=False),
        Binding("pageup", "page(-1.0)", "Page up", show=False),
        Binding("pagedown", "page(1.0)", "Page down", show=False),
        Binding("f1", "help", "Help", show=False, priority=True),
        Binding("ctrl+c", "app.quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, talking: Talking, palette: Callable[[], Palette], *, tick_s: float) -> None:
        super().__init__()
        self.talking = talking
        self._palette = palette
        self._tick_s = tick_s
        self._recalled = 0
        self.sessions = SessionsView()
        self.turns = ConversationView()

    def compose(self) -> ComposeResult:
        """Who one talks to, the two lists, the line, the keys."""
        yield StatusBar(self._palette, id="chat-status")
        self.session_pane = Pane("SESSIONS", [self.sessions], self._palette, id="chat-sessions")
        self.turn_pane = Pane("CHAT", [self.turns], self._palette, id="chat-turns")
        yield Horizontal(self.session_pane, self.turn_pane)
        self.line = ChatLine(id="chat-line")
        yield self.line
        yield KeyBar(self._palette, id="chat-keys")

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#chat-keys", KeyBar).set_keys(KEYS)
        self.set_focus(self.line)
        self.turns.show(self.talking.conversation)
        self._tick()
        self.set_interval(self._tick_s, self._tick)

    def on_resize(self) -> None:
        """A small terminal shows the conversation alone."""
        self.set_class(self.size.width < NARROW, "-narrow")

    def _tick(self) -> None:
        talking = self.talking
        if self.turns.conversation is not talking.conversation:
            self.turns.show(talking.conversation)
        self.sessions.show(talking.sessions(), talking.conversation.key)
        self.turns.sync()
        self.session_pane.redraw_if_changed()
        self.turn_pane.redraw_if_changed()
        self.query_one("#chat-status", StatusBar).set_rows(self._about(), talking.state())
        if talking.accepted:
            if self.line.value.strip() == talking.accepted:
                self.line.value = ""
            talking.accepted = ""
        placeholder = self._placeholder(talking.conversation)
        if self.line.placeholder != placeholder:
            self.line.placeholder = placeholder

    def _about(self) -> Row:
        talking = self.talking
        key = talking.conversation.key
        return [
            (" ◆ chat ", "heading"),
            (clip(one_line(talking.name), 40), "strong"),
            (f"  session {clip(one_line(key), 40)}" if key else "  a run without a session", "dim"),
        ]

    @staticmethod
    def _placeholder(conversation: Conversation) -> str:
        schema = None
        if conversation.question is not None:
            schema = conversation.question.value_schema
        elif conversation.pause is not None:
            schema = conversation.pause.schema
        elif conversation.running is not None:
            return "it runs: what you say now steers it"
        else:
            return "say something"
        hint = answer_hint(schema)
        return f"answer: {hint}" if hint else "your answer"

    # -- keys -----------------------------------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the line."""
        event.stop()
        self.action_submit()

    def action_submit(self) -> None:
        """Say what stands in the line."""
        text = self.line.value.strip()
        if not text:
            return
        if self.talking.say(text, time.time()):
            self.line.value = ""
            self._recalled = 0
            self.turns.follow = True
            self._tick()

    def on_pane_chosen(self, message: Pane.Chosen) -> None:
        """Enter in a list."""
        message.stop()
        if message.pane is self.session_pane:
            session = self.sessions.session
            if session is None:
                self.action_new_session()
            else:
                self.talking.open(session.key, session.target)
                self.line.focus()
        else:
            self.action_go()

    def on_pane_moved(self, message: Pane.Moved) -> None:
        """Nothing follows the cursor here."""
        message.stop()

    def action_new_session(self) -> None:
        """Begin anew."""
        self.talking.begin()
        self.line.focus()
        self._tick()

    def action_cancel(self) -> None:
        """Refuse to answer, or cancel the run."""
        self.talking.cancel()

    def action_go(self) -> None:
        """To the run of the turn under the cursor, or of the last one."""
        turn = self.turns.turn if self.turn_pane.has_focus else self.talking.conversation.last
        if turn is not None:
            self.dismiss(turn.trace_id)

    def action_next_pane(self, delta: int) -> None:
        """The line, the conversation, the sessions."""
        order = [self.line, self.turn_pane] + ([] if self.has_class("-narrow") else [self.session_pane])
        here = next((number for number, widget in enumerate(order) if widget.has_focus), 0)
        order[(here + delta) % len(order)].focus()

    def action_recall(self, delta: int) -> None:
        """What was said before, in the line."""
        said = [turn.user for turn in self.talking.conversation.turns if turn.user]
        if not said or not self.line.has_focus:
            return
        self._recalled = min(max(self._recalled + delta, -len(said)), 0)
        self.line.value = said[self._recalled] if self._recalled else ""
        self.line.cursor_position = len(self.line.value)

    def action_page(self, pages: float) -> None:
        """Through the conversation, wherever the focus is."""
        self.turn_pane.action_page(pages)

    def action_help(self) -> None:
        """What this is."""
        from playground.dashboard.help import HelpScreen

        self.app.push_screen(HelpScreen("chat", self.turns))

    def action_leave(self) -> None:
        """Back to where one came from."""
        self.dismiss(None)
