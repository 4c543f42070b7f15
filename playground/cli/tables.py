"""Tables of a terminal, and sessions as people call them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.dashboard.text import clip, one_line, pad

__all__ = ["pick_session", "print_table"]


def pick_session(keys: Sequence[str], session: str, *, missing: str, listing: str) -> str:
    """The key of a session: all of it, its last part alone, or the beginning of either that no other has.

    Raises `Failure`, with `missing` when there is none, and `listing` as the command that shows which there are.
    """
    alone = {key: key.rpartition(":")[2] for key in keys}
    for found in (
        [key for key in keys if key == session],
        [key for key in keys if alone[key] == session],
        [key for key in keys if session and (key.startswith(session) or alone[key].startswith(session))],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            told = f"several conversations are called {one_line(session)}"
            raise Failure(told, ExitCode.NOT_FOUND, hint="give the whole key", details=[one_line(key) for key in found])
    near = get_close_matches(session, [*keys, *alone.values()], n=1)
    hint = f"did you mean {one_line(near[0])}?" if near else f"`{listing}` lists what there is"
    raise Failure(f"{missing} {one_line(session)}", ExitCode.NOT_FOUND, hint=hint)


def print_table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under their heads, the last one cut to the terminal; nothing without rows."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head) - 1)]
    for number, row in enumerate((head, *rows)):
        fixed = "  ".join(pad(text, size) for text, size in zip(row, widths, strict=False))
        rest = row[-1] if console.width is None else clip(row[-1], max(8, console.width - len(fixed) - 2))
        line = f"{fixed}  {rest}".rstrip()
        console.line(console.out_paint("dim", line) if number == 0 else line)
