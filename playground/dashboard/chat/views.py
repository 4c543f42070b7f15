"""How a conversation and the list of sessions are drawn."""

from __future__ import annotations

import time

from playground.dashboard.chat.inputs import answer_hint
from playground.dashboard.chat.model import Conversation, Session, Turn
from playground.dashboard.markdown import Renderer, wrap_row
from playground.dashboard.text import GLYPHS, ROLES, Row, clip, duration, lines_of, one_line, pad, wrap
from playground.dashboard.views.base import View

INDENT = 2
MAX_STEP_ROWS = 3
MAX_GROWING = 8_000
MAX_REPLY = 100_000
NEW = "+ new session"


class SessionsView(View):
    """Conversations of this and earlier days, and a row for a new one."""

    label = "Sessions"

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[Session] = []
        self.current: str | None = None

    def show(self, sessions: list[Session], current: str | None) -> None:
        """Show these; the cursor stays on its session."""
        picked = self.session
        state = [(each.key, each.last, each.status, each.runs) for each in sessions]
        if (state, current) == (
            [(each.key, each.last, each.status, each.runs) for each in self.sessions],
            self.current,
        ):
            return
        self.sessions, self.current = sessions, current
        if picked is not None:
            self.cursor = next((n for n, each in enumerate(sessions, 1) if each.key == picked.key), self.cursor)
        self.settle()
        self.touch()

    def __len__(self) -> int:
        return len(self.sessions) + 1

    @property
    def session(self) -> Session | None:
        """The one under the cursor; None for a new one."""
        return self.sessions[self.cursor - 1] if 0 < self.cursor <= len(self.sessions) else None

    def row(self, index: int, width: int) -> Row:
        """Status of the last run, key, how many turns."""
        if index == 0:
            return [(NEW, "accent")]
        session = self.sessions[index - 1]
        count = f" {session.runs}"
        name = clip(one_line(session.key), max(width - len(count) - 2, 4))
        here = session.key == self.current
        return [
            (f"{GLYPHS.get(session.status, '·')} ", ROLES.get(session.status, "")),
            (name, "strong" if here else ""),
            (count, "dim"),
        ]


class ConversationView(View):
    """Turns one after the other; only those that changed are laid out again."""

    label = "Conversation"
    has_cursor = True
    empty = "Nothing was said yet.\n\nType below and press Enter: that starts a run."
    help = (
        """A conversation: each message is a run of the flow, with its answer as it streams.
A run that asks something shows a card: what you type next is the answer. While a run goes on, it steers the run.""",
        [
            ("⏎", "in the line below: send; on a turn: go to its run"),
            ("tab", "the line below, the conversation, the sessions"),
            ("ctrl+n", "a new session"),
            ("ctrl+x", "cancel the run, or refuse to answer"),
            ("ctrl+r", "the run of the turn, in the dashboard"),
            ("↑", "in an empty line: what you said before"),
            ("y", "copy the turn's answer"),
            ("esc", "leave; what runs goes on"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation(None, None)
        self.follow = True
        self._width = 60
        self._rows: list[tuple[Row, Turn]] = []
        self._laid: dict[str, tuple[tuple[int, int], list[Row]]] = {}
        self._seen: tuple[object, ...] = ()

    def show(self, conversation: Conversation) -> None:
        """Show another conversation, from its end."""
        self.conversation = conversation
        self._laid = {}
        self._seen = ()
        self.follow = True
        self.sync()

    def sync(self) -> None:
        """Lay out what changed."""
        state = (self.conversation.state(), self._width, self.conversation.loading)
        if state == self._seen:
            return
        self._seen = state
        self._rows = []
        for turn in self.conversation.turns:
            known = self._laid.get(turn.trace_id)
            about = (turn.revision, self._width)
            if known is None or known[0] != about:
                known = self._laid[turn.trace_id] = (about, turn_rows(turn, self._width))
            self._rows += [(row, turn) for row in known[1]]
        self.settle()
        self.touch()

    def resize(self, width: int, height: int) -> None:
        """Wrap again when the width changed."""
        if width != self._width:
            self._width = width
            self.sync()
        super().resize(width, height)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int, width: int) -> Row:
        """One line."""
        return self._rows[index][0]

    @property
    def turn(self) -> Turn | None:
        """The turn under the cursor."""
        return self._rows[self.cursor][1] if 0 <= self.cursor < len(self._rows) else None

    def copy_text(self) -> str:
        """The turn's answer."""
        return self.turn.reply if self.turn is not None else ""

    def note(self) -> str:
        """How many turns there are."""
        count = len(self.conversation.turns)
        return "loading…" if self.conversation.loading else f"{count} turn{'' if count == 1 else 's'}"


def turn_rows(turn: Turn, width: int) -> list[Row]:
    """What was said, what was done, what came of it."""
    inner = max(width - INDENT, 8)
    rows: list[Row] = [[("you ", "accent"), (time.strftime("%H:%M", time.localtime(turn.started)), "dim")]]
    rows += _indented(turn.user or "…", inner, "strong")
    state: Row = [
        (one_line(turn.flow or "the flow") + " ", "heading"),
        (f"{GLYPHS.get(turn.status, '?')} {turn.status} ", ROLES.get(turn.status, "")),
        (duration(turn.duration_s) if turn.duration_s is not None else "", "dim"),
        (f" · {turn.calls} LLM" if turn.calls else "", "dim"),
    ]
    rows.append(state)
    rows += _steps(turn, inner)
    for text in turn.added:
        rows += [[("  you ", "accent"), (piece, "")] for piece in wrap(one_line(text), max(inner - 4, 8))]
    if turn.stopped:
        rows.append([("  ⏸ ", "warn"), (clip(f"stopped {turn.stopped} · ctrl+r goes there", inner), "warn")])
    if turn.reply:
        rows += [[("  ", ""), *row] for row in _markdown(turn.reply, inner, growing=not turn.over)]
    if turn.error:
        rows += _indented(f"✖ {turn.error}", inner, "error")
    if turn.pause is not None:
        rows += _card(turn.pause.prompt, turn.pause.schema, inner)
    for question in turn.questions:
        rows += _card(question.prompt, question.value_schema, inner)
    rows.append([])
    return rows


def _steps(turn: Turn, width: int) -> list[Row]:
    """Tools in one paragraph: name and mark each."""
    row: Row = []
    for name, status in turn.steps:
        row += [(f"{GLYPHS.get(status, '?')} ", ROLES.get(status, "")), (one_line(name) + "  ", "dim")]
    rows = wrap_row(row, width) if row else []
    if len(rows) > MAX_STEP_ROWS:
        rows = [*rows[: MAX_STEP_ROWS - 1], [(f"… {len(turn.steps)} in all", "dim")]]
    return [[("  ", ""), *each] for each in rows]


def _indented(text: str, width: int, role: str) -> list[Row]:
    return [[("  ", ""), (piece, role)] for line in lines_of(text) for piece in wrap(line, width) or [""]]


def _markdown(text: str, width: int, *, growing: bool) -> list[Row]:
    most = MAX_GROWING if growing else MAX_REPLY
    rows: list[Row] = []
    if len(text) > most:
        # Laid out with every frame while it grows: the end will do until it is over.
        text = text[-most:] if growing else text[:most]
        rows.append([(f"… {'the last' if growing else 'the first'} {most:,} characters; y copies all", "dim")])
    renderer = Renderer(width)
    *done, last = text.split("\n")
    return rows + renderer.lines(done) + renderer.tail(last)


def _card(prompt: str, schema: dict[str, object] | None, width: int) -> list[Row]:
    """A question in a frame."""
    inner = max(width - 4, 8)
    hint = answer_hint(schema)
    top = "╭─ ⏸ asks " + "─" * max(width - 11, 0) + "╮"
    foot = f" answer below{': ' + hint if hint else ''} · ctrl+x refuses "
    foot = clip(foot, max(width - 4, 0))
    rows: list[Row] = [[("  ", ""), (top, "warn")]]
    for line in lines_of(prompt):
        pieces = wrap(line, inner) or [""]
        rows += [[("  ", ""), ("│ ", "warn"), (pad(piece, inner), "strong"), (" │", "warn")] for piece in pieces]
    rows.append([("  ", ""), ("╰─" + foot, "warn"), ("─" * max(width - 3 - len(foot), 0) + "╯", "warn")])
    return rows
