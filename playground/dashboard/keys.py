"""Which keys the footer shows, and what `?` explains, by pane."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding, BindingType

from playground.dashboard.bars import Key
from playground.dashboard.gathered import AREAS
from playground.dashboard.layout import FLOWS, INSPECT, OUTPUT, PANES, RUNS, TRACE

BINDINGS: list[BindingType] = [
    Binding("q,ctrl+c", "quit", "Quit", show=False),
    *(Binding(str(number), f"focus_pane('{name}')", name, show=False) for number, name in enumerate(PANES, 1)),
    Binding("ctrl+p,colon", "command_palette", "Commands", show=False),
    Binding("question_mark,f1", "help", "Help", show=False),
    Binding("slash", "search", "Search", show=False),
    Binding("n", "next_match(1)", "Next match", show=False),
    Binding("N", "next_match(-1)", "Previous match", show=False),
    Binding("escape", "back", "Back", show=False),
    Binding("z", "zoom", "Zoom", show=False),
    Binding("y", "copy", "Copy", show=False),
    Binding("r,ctrl+r", "run_now", "Run", show=False),
    Binding("R", "reload", "Reload", show=False),
    Binding("ctrl+k", "kill_host", "Kill a silent host", show=False),
    Binding("x", "cancel_run", "Cancel", show=False),
    Binding("F", "follow", "Follow", show=False),
    Binding("m", "raw", "Markdown or raw", show=False),
    Binding("space", "fold", "Fold", show=False),
    Binding("asterisk", "expand", "Unfold all", show=False),
    Binding("D", "decode", "Decode all", show=False),
    Binding("less_than_sign", "resize_left(-2)", "Narrower lists", show=False),
    Binding("greater_than_sign", "resize_left(2)", "Wider lists", show=False),
    Binding("plus", "resize_lower(1)", "Higher lower panes", show=False),
    Binding("minus", "resize_lower(-1)", "Lower lower panes", show=False),
]
"""Keys that work in every pane; those of the lists are with `Pane`, those of the areas with their areas."""
ALL_BINDINGS: list[BindingType] = [*BINDINGS, *(binding for area in AREAS for binding in area.BINDINGS)]

PALETTE = Key("ctrl+p", "commands", "command_palette")
HELP = Key("?", "help", "help")

_SEARCH, _FILTER = Key("/", "search", "search"), Key("/", "filter", "search")
_COPY, _ZOOM = Key("y", "copy", "copy"), Key("z", "zoom", "zoom")
_CANCEL = Key("x", "cancel", "cancel_run")
_BREAK = Key("b", "break", "do('debugging', 'break_here')")
_STOP_FIRST = Key("S", "stop first", "do('debugging', 'run_stopped')")
_RUNS_CODE = {"run_now", "reload", "cancel_run", _BREAK.action, _STOP_FIRST.action, "do('travel', 'fork')"}
_FOOTERS: dict[str, list[Key]] = {
    FLOWS: [Key("⏎", "form", "choose"), Key("r", "run", "run_now"), _STOP_FIRST, _SEARCH],
    RUNS: [Key("⏎", "open", "choose"), _FILTER, _CANCEL, Key("d", "compare", "do('travel', 'diff')")],
    TRACE: [Key("⏎", "inspect", "choose"), _BREAK, _SEARCH, Key("f", "fork", "do('travel', 'fork')")],
    INSPECT: [Key("]", "events", "next_tab"), Key("⏎", "unfold", "choose"), _SEARCH, _COPY],
    OUTPUT: [Key("]", "logs", "next_tab"), Key("m", "raw", "raw"), _COPY, _ZOOM],
}

GENERAL = [
    ("tab  shift+tab", "next pane, previous pane"),
    ("1 … 5", "flows, runs, trace, inspect, output"),
    ("↑ ↓  j k", "move;  g G first and last;  pgup pgdn ctrl+u ctrl+d by pages"),
    ("← →  h l", "fold and unfold, or go outward and inward"),
    ("[  ]", "tabs of a pane"),
    ("/", "filter a list, or search a tree;  n N next and previous match"),
    ("z", "zoom the pane;  < > width of the lists;  + - height of the lower panes"),
    ("y", "copy what the cursor is on, through the terminal (OSC 52)"),
    ("r", "run the selected flow with its last input, its sample, or its defaults"),
    ("x", "cancel the run that is shown"),
    ("F", "follow the newest run"),
    ("R", "load the code again;  ctrl+k ends a host that is silent or blocked"),
    (":  ctrl+p", "every command"),
    ("esc", "back"),
    ("q  ctrl+c", "quit"),
]
HELP_TEXTS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    FLOWS: (
        """Flows of the project. ● loaded  ◌ loading  ▲ broken, the last good version runs  ✖ broken, nothing to run.
A module that is broken says where; INSPECT has its error and its frames.""",
        [
            ("⏎", "open the form of the flow"),
            ("r", "run it at once"),
            ("S", "run it, and stop at its first checkpoint"),
            ("b", "a breakpoint in it: asks where"),
            ("w", "chat with it"),
            ("%", "statistics of its runs"),
            ("R", "load all code again"),
        ],
    ),
    RUNS: (
        """Runs of this and earlier days, newest first.
● running  ✔ ok  ✖ error  ◷ timeout  ⊘ cancelled  ↯ interrupted  ‖ paused  ⏸ stopped
↳ forked from  ⟲ replays  ◧ marked for a comparison  ╭╰ runs of one session
A filter takes words, !word, flow:name, status:error, session:key, since:2h, before:today, is:fork, is:replay.""",
        [
            ("⏎", "go to its tree"),
            ("/", "filter"),
            ("d", "mark it, compare it with the marked one"),
            ("f", "fork it: run it again, with something changed"),
            ("p", "replay it on its recorded answers"),
            ("T  E", "save it as a test, write it to a file"),
            ("F", "follow the newest run"),
            ("x", "cancel it"),
        ],
    ),
    TRACE: (
        """The spans of the run as they happen, with the time each took on the axis of the whole run.
A single good attempt is folded into its node; retries and failures show themselves.""",
        [
            ("⏎", "inspect the span"),
            ("space  ← →", "fold, unfold"),
            ("[  ]", "tree, waterfall, graph"),
            ("b", "breakpoint here, and away with it"),
            ("f", "fork the run here"),
            ("L", "the call of a model: what was sent, what came back"),
            (",", "go through the run event by event"),
            ("/  n  N", "search, next, previous"),
            ("G", "stay at the end"),
        ],
    ),
    INSPECT: (
        """Detail: what is selected, with its payloads, error and traceback.
Events: every event of the run; a filter takes words, !word, kind:node.retry, node:name.""",
        [
            ("[  ]", "detail, events"),
            ("⏎", "unfold; in events: open"),
            ("*", "unfold all"),
            ("D", "decode a huge event"),
            ("y", "copy the value"),
        ],
    ),
    OUTPUT: (
        """Stream: the chunks of one stream, joined.
Logs: what the code printed and logged, and what the host has to say.""",
        [
            ("[  ]", "stream, logs"),
            ("← →", "another stream"),
            ("m", "Markdown or raw"),
            ("G", "stay at the end"),
            ("y", "copy it all"),
        ],
    ),
}


def footer(
    pane: str,
    *,
    own: Sequence[Key],
    running: bool,
    tab: int,
    zoomed: bool,
    can_run: bool,
    broken: bool,
    recorded: bool = False,
) -> list[Key]:
    """At most seven keys that fit the moment; `own` are those of the view in front, or of what is to be done now."""
    if own:
        last = [Key("esc", "unzoom", "back")] if zoomed else []
        return [*own[: 4 - len(last)], *last, Key("tab", "pane", "next_pane(1)"), PALETTE, HELP]
    keys = [key for key in _FOOTERS[pane] if can_run or key.action not in _RUNS_CODE]
    if pane == FLOWS and recorded:
        keys = [Key("2", "runs", f"focus_pane('{RUNS}')")]
    if pane in {INSPECT, OUTPUT} and tab == 1:
        other = "detail" if pane == INSPECT else "stream"
        keys[0] = Key("[", other, "next_tab")
        keys[1] = Key("⏎", "open", "choose") if pane == INSPECT else _FILTER
    if pane == RUNS and not running:
        keys = [key for key in keys if key.action != "cancel_run"]
    if running and pane == TRACE and can_run:
        keys[3] = _CANCEL
    if pane == FLOWS and broken:
        keys = [Key("⏎", "error", "choose"), _SEARCH, *([Key("R", "reload", "reload")] if can_run else [])]
    if zoomed:
        keys = [*keys[:3], Key("esc", "unzoom", "back")]
    return [*keys, Key("tab", "pane", "next_pane(1)"), PALETTE, HELP]
