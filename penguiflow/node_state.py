"""What nodes keep for a trace, as far as it changed, in the trace's log: a resumed run or a fork begins with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penguiflow.channels import UNCHANGED, payload_of
from penguiflow.failures import said
from penguiflow.joins import follow_join
from penguiflow.validation import is_message

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.observer import TraceLog
    from penguiflow.traces import Trace

__all__ = ["Logged", "log_changes", "prime"]

_IMMUTABLE = frozenset({str, int, float, bool, bytes, complex, type(None)})
WATCHED_ITEMS = 64
"""Items of a list that are looked at again at each change, in case one of them has changed inside.

In a longer list what was written once is taken to stay as it is: otherwise a node that gathers thousands would write
the square of that.
"""


class Logged:
    """What the log has of one node's state."""

    __slots__ = ("hold", "lists", "others")

    def __init__(self) -> None:
        self.lists: dict[str, list[Any]] = {}
        """What was in lists that are long, or hold nothing but what does not change: texts, numbers, messages."""
        self.others: dict[str, Any] = {}
        """Everything else, as it was written."""
        self.hold: str | None = None


def log_changes(context: Context, trace: Trace, log: TraceLog) -> None:
    """Write `context.changed` if the node's state, or what it waits for, is no longer what the log has."""
    node_id = context._port.owner.node_id
    if trace.logged is None:
        trace.logged = {}
    logged = trace.logged.get(node_id)
    if logged is None:
        logged = trace.logged[node_id] = Logged()
    _, message, payload, _, message_id = context._item
    own = {id(payload_of(message, payload)): {"$payload": message_id}}
    if payload is UNCHANGED:
        own[id(message)] = {"$message": message_id}
    change = _changes((trace.state or {}).get(node_id, {}), logged, own, log)
    why = (trace.holds or {}).get(node_id)
    hold = None if why is None else said(why)
    follow_join(context, trace, log, hold, logged.hold is not None)
    if change or (hold is None) != (logged.hold is None):
        logged.hold = hold
        log.event("context.changed", context._port.name, context._span, {**change, "hold": hold})


def prime(state: dict[str, Any], logged: Logged, log: TraceLog) -> dict[str, Any]:
    """Take over what a node kept before the trace was taken up again; returns it as an event has it."""
    # Messages that came by an edge do not change.
    messages = {
        id(item): log.freeze(item)
        for value in state.values()
        if type(value) is list
        for item in value
        if is_message(item)
    }
    return _changes(state, logged, messages, log)


def _changes(state: dict[str, Any], logged: Logged, own: dict[int, Any], log: TraceLog) -> dict[str, Any]:
    """`set`, `added` and `removed`, as far as there are any; `logged` is brought up to date."""
    changed: dict[str, Any] = {}
    added: dict[str, Any] = {}
    for key, value in state.items():
        before = logged.lists.get(key)
        if type(value) is not list:
            form = own.get(id(value)) or log.freeze(value)
            logged.lists.pop(key, None)
        elif before is not None and _only_grew(value, before, own):
            if more := value[len(before) :]:
                added[key] = [own.get(id(item)) or log.freeze(item) for item in more]
                before += more
            continue
        else:
            form = _list(key, value, logged, own, log)
        if key in logged.lists or logged.others.get(key) != form:
            changed[key] = form
        if key not in logged.lists:
            logged.others[key] = form
    removed = [key for key in (*logged.lists, *logged.others) if key not in state]
    for key in removed:
        logged.lists.pop(key, None)
        logged.others.pop(key, None)
    found = {"set": changed, "added": added, "removed": removed}
    return {name: about for name, about in found.items() if about}


def _only_grew(value: list[Any], before: list[Any], own: dict[int, Any]) -> bool:
    """Whether what was in the list is there still, and only what does not change came behind it."""
    known = len(before)
    if len(value) < known:
        return False
    try:
        # Looks at identities first, in C: for a list that only grew this is all it does.
        if value[:known] != before:
            return False
    except Exception:  # things that cannot be compared: they are not the same ones
        return False
    return known > WATCHED_ITEMS or all(id(item) in own or type(item) in _IMMUTABLE for item in value[known:])


def _list(key: str, value: list[Any], logged: Logged, own: dict[int, Any], log: TraceLog) -> dict[str, Any]:
    """A whole list as it is written; noted as one that may grow where it holds only what does not change."""
    logged.lists.pop(key, None)
    if len(value) > WATCHED_ITEMS or all(id(item) in own or type(item) in _IMMUTABLE for item in value):
        logged.others.pop(key, None)
        logged.lists[key] = list(value)
    return {"$list": [own.get(id(item)) or log.freeze(item) for item in value]}
