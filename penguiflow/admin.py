"""`penguiflow-admin`: the stored history of a trace, as lines of JSON."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from penguiflow.state.models import StoredEvent
from penguiflow.state.protocol import StateStore, require_capabilities

__all__ = ["load_state_store", "main", "render_events"]

_METHODS = ("save_event", "load_history", "save_remote_binding")


async def load_state_store(spec: str) -> StateStore:
    """The store that the callable named by `package.module:callable` makes; it may be async.

    Raises:
        ValueError: when the spec is not of that form.
        ImportError, AttributeError: when it names nothing.
        TypeError: when it is not callable, or what it makes is no state store.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise ValueError("state store spec must be in the form 'package.module:callable'")
    factory: Any = import_module(module_name)
    for name in attribute.split("."):
        factory = getattr(factory, name)
    if not callable(factory):
        raise TypeError(f"state store spec '{spec}' does not name a callable")
    store = factory()
    if inspect.isawaitable(store):
        store = await store
    require_capabilities(store, feature="penguiflow-admin", methods=_METHODS)
    made: StateStore = store
    return made


def render_events(events: Sequence[StoredEvent], *, tail: int | None = None) -> list[str]:
    """One line of JSON per event, keys sorted; the last `tail` only (none of them for 0 or less)."""
    chosen = events if tail is None else events[max(0, len(events) - tail) :] if tail > 0 else []
    return [_line(event) for event in chosen]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    # A console script does not look where it is called; the user's store is there.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        events = asyncio.run(_history(options.state_store, options.trace_id))
    except Exception as error:  # the store is user code: whatever it raises is what went wrong
        print(f"error: {error or type(error).__name__}", file=sys.stderr)
        return 1
    try:
        _show(options, render_events(events, tail=options.tail), bool(events))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough; the interpreter must not fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penguiflow-admin", description="Look at the stored history of a trace.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("trace_id", metavar="TRACE_ID")
    common.add_argument(
        "--state-store", required=True, metavar="package.module:callable", help="what makes the store; may be async"
    )
    common.add_argument("--tail", type=int, metavar="N", help="the last N events only")
    commands.add_parser("history", parents=[common], help="print the events as lines of JSON")
    replay = commands.add_parser("replay", parents=[common], help="print them one after the other")
    replay.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="between two events")
    return parser


async def _history(spec: str, trace_id: str) -> list[StoredEvent]:
    store = await load_state_store(spec)
    try:
        return list(await store.load_history(trace_id))
    finally:
        close = getattr(store, "close", None)
        if callable(close):
            closing = close()
            if inspect.isawaitable(closing):
                await closing


def _show(options: argparse.Namespace, lines: list[str], found: bool) -> None:
    replay = options.command == "replay"
    if not found:
        # The output of `history` is JSON and nothing else.
        print(f"# trace {options.trace_id} has no stored events", file=sys.stdout if replay else sys.stderr)
    elif replay:
        print(f"# replay trace={options.trace_id} events={len(lines)}")
    for number, line in enumerate(lines):
        if number and replay and options.delay > 0:
            sys.stdout.flush()
            time.sleep(options.delay)
        print(line)


def _line(event: StoredEvent) -> str:
    about = {str(key): value for key, value in event.payload.items()}
    about.update(
        event=event.kind,
        trace_id=event.trace_id,
        node_name=event.node_name,
        node_id=event.node_id,
        ts=event.ts,
    )
    try:
        return json.dumps(about, sort_keys=True, default=str)
    except (TypeError, ValueError):
        # Keys of several types inside cannot be sorted; what refers to itself cannot be written.
        return json.dumps({key: _plain(value) for key, value in about.items()}, sort_keys=True)


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=str))
    except (TypeError, ValueError):
        return repr(value)


if __name__ == "__main__":
    sys.exit(main())
