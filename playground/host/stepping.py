"""Where a step ends: at the next checkpoint that is not inside of what is stepped over, or out of.

A step belongs to the line of the run that was stopped. Branches that run beside it are not stopped by it.

| step | ends at the next checkpoint |
| --- | --- |
| `into` | whatever it is |
| `over` | not inside of what the run stands before; a plan's branches are inside of its decision, its join is not |
| `out` | after the innermost branch, join, tool, planner, node or playbook around it |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penguiflow.checkpoints import Checkpoint

Ends = Callable[[Checkpoint], bool]
_FRAMES = frozenset({"node", "playbook", "planner", "branch", "join", "call"})


def step_from(how: str, path: Sequence[str]) -> Ends | None:
    """Which checkpoint ends a step that begins at a path; None for `continue`."""
    here = tuple(path)
    if how == "into":
        return lambda checkpoint: True
    if how == "over":
        return lambda checkpoint: not _inside(checkpoint.path, here) and not _beside(checkpoint.path, here)
    if how == "out":
        left = _frame_around(here)
        return lambda checkpoint: checkpoint.path[: len(left)] != left and not _beside(checkpoint.path, left)
    return None


def _inside(path: tuple[str, ...], unit: tuple[str, ...]) -> bool:
    """Whether a path is below a unit. A join is no part of what it joins."""
    if len(path) <= len(unit) or path[: len(unit)] != unit:
        return False
    return not (len(path) == len(unit) + 1 and _kind(path[-1]) == "join")


def _beside(path: tuple[str, ...], line: tuple[str, ...]) -> bool:
    """Whether a path is in another branch of a plan that the line is a branch of."""
    for one, other in zip(path, line, strict=False):
        if one != other:
            return _kind(one) == "branch" and _kind(other) == "branch"
    return False


def _frame_around(path: tuple[str, ...]) -> tuple[str, ...]:
    for length in range(len(path), 0, -1):
        if _kind(path[length - 1]) in _FRAMES:
            return path[:length]
    return path[:1]


def _kind(part: str) -> str:
    return part.partition(":")[0]
