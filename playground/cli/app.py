"""The commands, their arguments and their help. What each does is in a module of its own, imported when it runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from playground.cli.break_app import break_app
from playground.cli.console import Console
from playground.cli.distributed_app import add_distributed_commands
from playground.cli.help import PlainCommand, bused, stored
from playground.cli.start_app import add_start_commands
from playground.cli.store_app import add_store_commands

__all__ = ["app"]

Command = Callable[[], int]
"""What a command line asks for. It runs after the parser is done, whose own handling of errors is not ours."""

app = typer.Typer(
    help="Run typed agent flows, look inside them, change them and run them again.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

add_store_commands(app)
add_start_commands(app)
add_distributed_commands(app)
app.add_typer(break_app, name="break", short_help="List, add and remove breakpoints.")
plain = partial(app.command, cls=PlainCommand)


def command(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command that reads or writes traces."""
    return lambda function: plain(**options)(stored(function))


_JSON = "JSON|@FILE|-"
_BREAK = typer.Option("--break", metavar="SPEC", help="Stop there and ask: tool:NAME, node:NAME, error. Repeatable.")
_IF = typer.Option("--if", metavar="EXPR", help="With --break: only when this is true of the payload.")
_STOP_FIRST = typer.Option("--stop-first", help="Stop before the first thing that happens.")
_SAVED = typer.Option("--breakpoints", help="Stop at the project's breakpoints too: see `pf break`.")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Run typed agent flows, look inside them, change them and run them again."""
    if version:
        _print_version()
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        Console().line(context.get_help())


@command(short_help="Run a flow once, print its result.")
@bused
def run(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, a module, or either with :name.")],
    input: Annotated[
        str | None, typer.Option("--input", "-i", metavar=_JSON, help="The input: JSON, a file, or stdin.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print trace id, status, output and error as one object.")
    ] = False,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop the run after this time.")] = None,
    headers: Annotated[str | None, typer.Option(metavar=_JSON, help="Headers of the message, as an object.")] = None,
    meta: Annotated[str | None, typer.Option(metavar=_JSON, help="Metadata of the message, as an object.")] = None,
    session: Annotated[str | None, typer.Option(metavar="KEY", help="The session that the run belongs to.")] = None,
    trace_id: Annotated[str | None, typer.Option(metavar="ID", help="The id of the trace; made up by default.")] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Run without recording a trace.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and errors, nothing else.")] = False,
    stops: Annotated[list[str] | None, _BREAK] = None,
    condition: Annotated[str | None, _IF] = None,
    stop_first: Annotated[bool, _STOP_FIRST] = False,
    breakpoints: Annotated[bool, _SAVED] = False,
) -> Command:
    """Run a flow once: what it streams goes to stderr, its result to stdout."""
    from playground.cli.debug import DebugOptions
    from playground.cli.run import RunOptions, run_flow

    options = RunOptions(
        target=target,
        input=input,
        json=json,
        timeout=timeout,
        headers=headers,
        meta=meta,
        session=session,
        trace_id=trace_id,
        record=not no_store,
        quiet=quiet,
        debug=DebugOptions(stops or (), condition, stop_first, breakpoints),
    )
    return lambda: run_flow(options)


@command(short_help="List the runs of this and earlier days.")
def traces(
    flow: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this flow.")] = None,
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="Only those with this status.")] = None,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Found in id, flow, input, output or error.")] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Started since: 2h, 3d, today, 2026-01-31.")] = None,
    session: Annotated[str | None, typer.Option(metavar="KEY", help="Only those of this session.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="At most this many.")] = 50,
    background: Annotated[bool, typer.Option("--all", help="Also what runs left to the background.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> Command:
    """List the runs of this and earlier days, newest first."""
    from playground.cli.traces import TracesOptions, list_traces

    options = TracesOptions(flow, status, text, since, session, limit, background, json)
    return lambda: list_traces(options)


@command(short_help="Look into a trace: what ran, what failed.")
def inspect(
    trace_id: Annotated[str, typer.Argument(metavar="TRACE_ID", help="An id, the beginning of one, or `last`.")],
    tree: Annotated[bool, typer.Option("--tree", help="What ran, with durations and errors (the default).")] = False,
    events: Annotated[bool, typer.Option("--events", help="Every event, one line each.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Trace, spans and events as JSON.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="The messages as a Mermaid sequence diagram.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out of the tree or the diagram.")] = False,
    llm: Annotated[
        str | None, typer.Option(metavar="N", help="The N-th call of a model, whole: 1, 2, …, `last` or `all`.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Every event as it comes, until the run is over.")
    ] = False,
    at: Annotated[int | None, typer.Option(metavar="SEQ", help="The run as it stood after this event.")] = None,
) -> Command:
    """Look into a trace: what ran, how long it took, what failed and why."""
    from playground.cli.inspect import choose_view, inspect_trace

    calls, moment = llm is not None, at is not None
    view = choose_view(tree=tree, events=events, json=json, mermaid=mermaid, llm=calls, follow=follow, at=moment)
    return lambda: inspect_trace(trace_id, view, full=full, llm=llm, follow=follow, at=at)


@command(short_help="Compare two traces.")
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="An id, the beginning of one, or `last`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The trace to compare it with.")],
    json: Annotated[bool, typer.Option("--json", help="Print what was found as one object.")] = False,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", "-y", help="What the two have, beside each other.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", help="Show at most this many differences.")] = 50,
) -> Command:
    """Compare two traces: the first divergence, then what else differs. The exit code is 0, equal or not."""
    from playground.cli.diff import DiffOptions
    from playground.cli.diff import diff as compare

    options = DiffOptions(a=a, b=b, json=json, side_by_side=side_by_side, limit=limit)
    return lambda: compare(options)


@command(short_help="Write a trace to a file.")
def export(
    trace_id: Annotated[str, typer.Argument(metavar="TRACE_ID", help="An id, the beginning of one, or `last`.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The file to write; `.pftrace` is usual.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Write over a file that exists.")] = False,
    otlp: Annotated[
        str | None, typer.Option(metavar="URL", help="Send it as OpenTelemetry spans to this collector instead.")
    ] = None,
    content: Annotated[
        bool, typer.Option("--content", help="With --otlp: prompts, answers and messages go along.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Say what was written as one object.")] = False,
) -> Command:
    """Write a trace with its payloads to one compressed file. Secrets are masked in it, as they are in the store."""
    from playground.cli.share import ExportOptions, export_trace

    options = ExportOptions(trace=trace_id, file=file, force=force, otlp=otlp, content=content, json=json)
    return lambda: export_trace(options)


@command(name="import", short_help="Take in a trace from a file.")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `pf export` wrote.")],
    new_id: Annotated[
        str | None, typer.Option("--as", metavar="NEW_ID", help="Give the trace this id instead of its own.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Say what was taken in as one object.")] = False,
) -> Command:
    """Take in a trace that `pf export` wrote: all of it, or nothing. One that is here already changes nothing."""
    from playground.cli.share import ImportOptions, import_trace

    options = ImportOptions(file=file, new_id=new_id, json=json)
    return lambda: import_trace(options)


@command(short_help="Run a trace again, answered from its recording.")
def replay(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="An id, the beginning of one, or `last`.")],
    live_after: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Make the calls that come after this span, by id or path.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="TARGET", help="What to run, where it is not what the trace says.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as one object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and errors, nothing else.")] = False,
) -> Command:
    """Run a recorded trace again, offline, with the code as it is now; stop where it asks something else."""
    from playground.cli.replay import ReplayOptions, replay_trace

    options = ReplayOptions(trace=trace, live_after=live_after, target=target, json=json, quiet=quiet)
    return lambda: replay_trace(options)


@command(name="test", short_help="Write a test that replays a trace.")
def write_test(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="An id, the beginning of one, or `last`.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The test to write: tests/test_….py.")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Write over a test that exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Say what was written as one object.")] = False,
) -> Command:
    """Write a pytest test and its cassette, after two replays that came out as recorded."""
    from playground.cli.maketest import MakeOptions, make_test

    options = MakeOptions(trace=trace, out=out, force=force, json=json)
    return lambda: make_test(options)


@command(short_help="Go on from an event of a trace, as a new one.")
def fork(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="An id, the beginning of one, or `last`.")],
    at: Annotated[int, typer.Option("--at", metavar="SEQ", help="Go on after this event.")],
    edits: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Change the message that stopped there, or a decision: /payload/text=hi, /args/url=b.",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="TARGET", help="Run this, not what the trace says.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and errors, nothing else.")] = False,
    stops: Annotated[list[str] | None, _BREAK] = None,
    stop_first: Annotated[bool, _STOP_FIRST] = False,
    breakpoints: Annotated[bool, _SAVED] = False,
) -> Command:
    """Begin a new trace where another one stood after an event, with the code as it is now. The other one stays."""
    from playground.cli.debug import DebugOptions
    from playground.cli.restore import RestoreOptions, fork_trace

    debug = DebugOptions(stops or (), None, stop_first, breakpoints)
    options = RestoreOptions(trace, at, edits or (), target=target, json=json, quiet=quiet, debug=debug)
    return lambda: fork_trace(options)


@command(short_help="Go on with an interrupted trace.")
def resume(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="An id, the beginning of one, or `last`.")],
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Give what the log does not have: a secret."),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="TARGET", help="Run this, not what the trace says.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and errors, nothing else.")] = False,
    stops: Annotated[list[str] | None, _BREAK] = None,
    stop_first: Annotated[bool, _STOP_FIRST] = False,
    breakpoints: Annotated[bool, _SAVED] = False,
) -> Command:
    """Go on with a trace whose process died, with the code as it is now: what had been under way is run again."""
    from playground.cli.debug import DebugOptions
    from playground.cli.restore import RestoreOptions, resume_trace

    debug = DebugOptions(stops or (), None, stop_first, breakpoints)
    options = RestoreOptions(trace, edits=edits or (), target=target, json=json, quiet=quiet, debug=debug)
    return lambda: resume_trace(options)


@plain(short_help="Draw the graph of a flow.")
def graph(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, a module, or either with :name.")],
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As Mermaid.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="As Graphviz' DOT.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The flow with its nodes and edges as JSON.")] = False,
) -> Command:
    """Draw the graph of a flow."""
    from playground.cli.graph import choose_format, show_graph

    return lambda: show_graph(target, choose_format(mermaid=mermaid, dot=dot, json=json))


@command(short_help="Forget old runs.")
def prune(
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Those whose last event is older: 12h, 7d, 4w.")
    ] = None,
    keep: Annotated[int | None, typer.Option(metavar="N", help="All but the newest N.")] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The oldest, until the store is no larger: 500MB, 2GB.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as one object.")] = False,
) -> Command:
    """Remove old runs for good and give their space back. Runs that are going on stay."""
    from playground.cli.prune import PruneOptions, prune_traces

    options = PruneOptions(older_than=older_than, keep=keep, max_size=max_size, dry_run=dry_run, json=json)
    return lambda: prune_traces(options)


@command(short_help="Open the dashboard.")
@bused
def tui(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATHS]...", help="Files, folders or modules; flows/ by default.")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Port of the host; a free one by default.")] = None,
    theme: Annotated[str | None, typer.Option(metavar="NAME", help="One of Textual's themes.")] = None,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the screen to a file; needs no terminal.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="COLSxROWS", help="Size of the screenshot.")] = "120x40",
    keys: Annotated[
        str, typer.Option(metavar="KEYS", help="Keys to press before the screenshot: tab,down,enter.")
    ] = "",
    run: Annotated[str | None, typer.Option(metavar="TARGET", help="A flow to run before the screenshot.")] = None,
    sample: Annotated[int, typer.Option(metavar="N", help="Which of its samples to run it with, from 0.")] = 0,
    attach: Annotated[
        str | None, typer.Option(metavar="URL", help="Join a host that is there already: `pf serve` prints its URL.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --attach: the file with its token.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="With --attach: look on, and change nothing.")] = False,
    tour: Annotated[bool, typer.Option("--tour", help="Begin with a tour of one minute.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="With --attach: send the token to another machine without TLS.")
    ] = False,
) -> Command:
    """Open the dashboard: run, watch, change and run again."""
    from playground.cli.tui import TuiOptions, open_dashboard

    options = TuiOptions(
        paths=paths or [],
        port=port,
        theme=theme,
        screenshot=screenshot,
        size=size,
        keys=keys,
        run=run,
        sample=sample,
        attach=attach,
        token_file=token_file,
        read_only=read_only,
        insecure=insecure,
        tour=tour,
    )
    return lambda: open_dashboard(options)


@command(short_help="Serve flows to dashboards elsewhere.")
@bused
def serve(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[TARGETS]...", help="Files, folders or modules; flows/ by default.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Runs stop at breakpoints while somebody with full control is there.")
    ] = False,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(metavar="N", help="Port; a free one by default.")] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let --host be an address that others can reach.")
    ] = False,
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keeps its tokens from one start to the next; else each start has new ones."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Say where it is as one object, on one line.")] = False,
) -> Command:
    """Serve flows without a screen, loaded anew on every save: `pf tui --attach URL` joins, from here or elsewhere."""
    from playground.cli.serve import ServeOptions
    from playground.cli.serve import serve as serve_flows

    options = ServeOptions(
        targets=targets or [],
        debug=debug,
        host=host,
        port=port,
        allow_remote=allow_remote,
        json=json,
        tokens=tokens,
    )
    return lambda: serve_flows(options)


@command(short_help="Open the dashboard in a browser.")
@bused
def web(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATHS]...", help="Files, folders or modules; flows/ by default.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(metavar="N", help="Port; a free one by default.")] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let --host be an address that others can reach.")
    ] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Look on, and change nothing.")] = False,
    theme: Annotated[str | None, typer.Option(metavar="NAME", help="One of Textual's themes.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print links as objects, one a line.")] = False,
) -> Command:
    """Serve the dashboard to browsers that open a link printed here. Needs no terminal."""
    from playground.cli.web import WebOptions, serve_web

    options = WebOptions(
        paths=paths or [],
        host=host,
        port=port,
        allow_remote=allow_remote,
        read_only=read_only,
        theme=theme,
        json=json,
    )
    return lambda: serve_web(options)


@plain(short_help="Print the JSON Schema of an output or of the events.")
def schema(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="`events`, or a command's name; all names by default.")
    ] = None,
) -> Command:
    """Print the JSON Schema of the events of a trace (`events`), or of what a command prints with --json."""
    from playground.cli.schema import show_schema

    return lambda: show_schema(name)


@plain(short_help="Print the version.")
def version() -> None:
    """Print the version."""
    _print_version()


def _print_version() -> None:
    import platform
    from importlib.metadata import version as installed

    Console().line(f"penguiflow {installed('penguiflow')} (Python {platform.python_version()})")


_USAGE_ERRORS: tuple[type[BaseException], ...] = tuple(
    kind for kind in typer.BadParameter.__mro__ if issubclass(kind, Exception) and kind.__name__ == "ClickException"
)
"""Typer does not name its root of usage errors, and moved it between its versions."""


def invoke(arguments: list[str]) -> int:
    """Run the command that these arguments name; returns its exit code. Raises `Failure` for what cannot be parsed."""
    from playground.cli.failures import Failure

    try:
        parsed: Any = app(arguments, prog_name="pf", standalone_mode=False)
    except _USAGE_ERRORS as error:
        command = arguments[0] if arguments and arguments[0] in _names() else ""
        raise Failure(_message(error), hint=f"see `pf {command} --help`".replace("  ", " ")) from None
    if callable(parsed):
        return int(parsed())
    # The parser answers by itself: 0 for help, 130 for a Ctrl-C in the middle of it.
    return parsed if isinstance(parsed, int) else 0


def _names() -> set[str]:
    groups = {str(group.name) for group in app.registered_groups}
    return groups | {str(info.name or getattr(info.callback, "__name__", "")) for info in app.registered_commands}


def _message(error: BaseException) -> str:
    format_message = getattr(error, "format_message", None)
    text = str(format_message() if format_message is not None else error).rstrip(".")
    return text[:1].lower() + text[1:]
