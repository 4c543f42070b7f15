"""`pf break`: where runs of this project stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from playground.breakpoints import Breakpoint, BreakpointsProblem, BreakpointStore
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.conditions import Condition, ConditionError
from playground.dashboard.text import one_line, pad
from playground.places import Place, PlaceError, free_id, read_place
from playground.project import Project, find_project, split_attribute

__all__ = [
    "AddOptions",
    "BreakpointsOutput",
    "add_breakpoint",
    "checked_condition",
    "checked_place",
    "flow_target",
    "list_breakpoints",
    "remove_breakpoints",
    "switch_breakpoints",
]


class AddOptions(NamedTuple):
    """What `pf break add` was asked for, as it was typed."""

    place: str
    condition: str | None = None
    once: bool = False
    flow: str | None = None
    disabled: bool = False
    json: bool = False


class BreakpointsOutput(BaseModel):
    """`pf break --json`, and what its subcommands print with `--json`: all breakpoints of the project."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    breakpoints: list[Breakpoint]
    changed: list[str] = []
    """Ids of those that the command added, changed or removed."""


def list_breakpoints(*, json: bool) -> int:
    """Print all of them; returns the exit code."""
    _show(_or_fail(_store(find_project()).load), [], json=json)
    return ExitCode.DONE


def add_breakpoint(options: AddOptions) -> int:
    """Keep one more, or change the one that is at this place with this condition; returns the exit code."""
    project = find_project()
    place, condition = checked_place(options.place), checked_condition(options.condition)
    target = None if options.flow is None else flow_target(project, options.flow)
    store = _store(project)
    known = _known_or_set_aside(store)
    same = [each for each in known if (_place(each), each.condition, each.target) == (place, condition, target)]
    added = Breakpoint(
        id=same[0].id if same else free_id(place, {each.id for each in known}),
        on=place.on,
        name=place.name,
        kind=place.kind,
        target=target,
        condition=condition,
        once=options.once,
        enabled=not options.disabled,
        hits=same[0].hits if same else 0,
    )
    kept = _or_fail(lambda: store.change([added]))
    _show(kept, [added.id], json=options.json, only_changed=True)
    return ExitCode.DONE


def remove_breakpoints(names: Sequence[str], *, every: bool, json: bool) -> int:
    """Take some of them, or all, away; returns the exit code."""
    store = _store(find_project())
    known = _or_fail(store.load)
    gone = [each.id for each in _chosen(known, names, every=every, command="rm")]
    kept = _or_fail(lambda: store.change(remove=gone))
    if json:
        _show(kept, gone, json=True)
    else:
        console = Console()
        for name in gone:
            console.line(f"removed {one_line(name)}")
        if not gone:
            console.tell("no breakpoints")
    return ExitCode.DONE


def switch_breakpoints(names: Sequence[str], *, on: bool, every: bool, json: bool) -> int:
    """Enable or disable some of them, or all; returns the exit code."""
    store = _store(find_project())
    known = _or_fail(store.load)
    chosen = _chosen(known, names, every=every, command="on" if on else "off")
    changed = [each.model_copy(update={"enabled": on}) for each in chosen]
    kept = _or_fail(lambda: store.change(changed))
    _show(kept, [each.id for each in changed], json=json, only_changed=True)
    return ExitCode.DONE


def checked_place(text: str) -> Place:
    """The place that a `SPEC` means. Raises `Failure`."""
    try:
        return read_place(text)
    except PlaceError as error:
        raise Failure(str(error), hint=error.hint) from None


def checked_condition(text: str | None) -> str | None:
    """A condition that can be read. Raises `Failure`, which marks the place where it cannot."""
    if text is None:
        return None
    try:
        Condition(text)
    except ConditionError as error:
        at = error.at
        shown = one_line(text)
        marked = [shown, " " * at + "^"] if at is not None and len(text) <= _MAX_MARKED else []
        hint = 'conditions compare parts of the payload: args.url == "b" and not done'
        raise Failure(f"--if: {error}", details=marked, hint=hint) from None
    return text


def flow_target(project: Project, target: str) -> str:
    """A target as the project spells it: a path is relative to the project's root."""
    place, attribute = split_attribute(target)
    path = Path(os.path.normpath(Path.cwd() / place))
    if not path.exists():
        return target
    spelled = path.relative_to(project.root).as_posix() if path.is_relative_to(project.root) else path.as_posix()
    return f"{spelled}:{attribute}" if attribute else spelled


_MAX_MARKED = 200


def _store(project: Project) -> BreakpointStore:
    return BreakpointStore(project.home)


def _or_fail(work: Callable[[], list[Breakpoint]]) -> list[Breakpoint]:
    try:
        return work()
    except BreakpointsProblem as problem:
        hint = "mend the file, or remove it; `pf break add` sets it aside and begins a new one"
        raise Failure(str(problem), ExitCode.STORE, hint=hint if "read" in str(problem) else None) from None


def _known_or_set_aside(store: BreakpointStore) -> list[Breakpoint]:
    """What is kept; a file that cannot be read will be set aside by the change that follows."""
    try:
        return store.load()
    except BreakpointsProblem as problem:
        Console().tell(f"{problem}; it is set aside")
        return []


def _place(of: Breakpoint) -> Place:
    return Place(of.on, of.name, of.kind)


def _chosen(known: Sequence[Breakpoint], names: Sequence[str], *, every: bool, command: str) -> list[Breakpoint]:
    """Those that are named by id, by the beginning of one that no other has, or by place."""
    if every and names:
        raise Failure("give ids, or --all, not both")
    if every:
        return list(known)
    if not names:
        raise Failure("say which breakpoint", hint=f"pf break {command} ID…, or --all; `pf break` lists them")
    found: dict[str, Breakpoint] = {}
    for name in names:
        exact = [each for each in known if each.id == name]
        meant = exact or [each for each in known if name and each.id.startswith(name)]
        if len(meant) > 1:
            ids = [each.id for each in meant]
            raise Failure(f"several breakpoints begin with {name}", ExitCode.NOT_FOUND, hint="give one", details=ids)
        if not meant:
            raise Failure(f"no breakpoint {name!r}", ExitCode.NOT_FOUND, hint="`pf break` lists them")
        found[meant[0].id] = meant[0]
    return list(found.values())


def _show(breakpoints: Sequence[Breakpoint], changed: list[str], *, json: bool, only_changed: bool = False) -> None:
    console = Console()
    if json:
        output = BreakpointsOutput(schema=1, breakpoints=list(breakpoints), changed=changed)
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
        return
    shown = [each for each in breakpoints if each.id in changed] if only_changed else breakpoints
    if not shown:
        console.tell("no breakpoints: `pf break add tool:NAME` adds one")
        return
    rows = [_row(each) for each in shown]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for row in rows:
        console.line("  ".join([*(pad(text, size) for text, size in zip(row, widths, strict=False)), row[2]]).rstrip())


def _row(each: Breakpoint) -> tuple[str, str, str]:
    """Mark and id; what it stops at; what else there is to say."""
    about = [f"in {each.target}" if each.target else "", f"if {each.condition}" if each.condition else ""]
    about += ["once" if each.once else "", "" if each.enabled else "off"]
    about.append(f"{each.hits} hit{'' if each.hits == 1 else 's'}" if each.hits else "")
    told = [one_line(part) for part in about if part]
    return f"{'●' if each.enabled else '○'} {one_line(each.id)}", one_line(told_place(_place(each))), " · ".join(told)


def told_place(place: Place) -> str:
    """The place in words."""
    name = f" {place.name}" if place.name else ""
    if place.on == "kind":
        return f"at {place.kind}{f' of{name}' if name else ''}"
    if place.on == "error":
        return f"after an error{f' of{name}' if name else ''}"
    if place.on == "any":
        return f"at any checkpoint{f' of{name}' if name else ''}"
    return f"before {place.on}{name}" if name else f"before each {place.on}"
