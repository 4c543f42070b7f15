"""What is to be written where, given what is generated, what was generated before, and what lies on the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peagen.core.cache import sha
from peagen.core.lock import LockEntry
from peagen.core.merge import merge
from peagen.run.options import Status


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of one file."""

    status: Status
    write: bytes | None = None
    """The file's new content; None: it stays as it is."""
    beside: bytes | None = None
    """What is laid beside it, for a person to look at."""
    output: str
    kept: str | None = None
    pending: str | None = None
    """The last three are those of the lock entry."""


def decide(
    new: bytes,
    disk: bytes | None,
    entry: LockEntry | None,
    *,
    base: Callable[[str], bytes | None],
    beside: bytes | None = None,
    force: bool = False,
) -> Decision:
    """Never overwrite what a person changed, unless told to.

    Args:
        new: what is generated now.
        disk: the file as it is; None where there is none.
        entry: what the lock file says of it.
        base: gives what was generated before, by its hash, if it is still there.
        beside: what lies beside the file, from an earlier conflict.
        force: overwrite it all the same.

    Raises `GitError` where two changes are to be merged and git is not there.
    """
    output = sha(new)
    before = entry.output if entry is not None else ""
    if disk is None:
        return Decision(status="created", write=new, output=output)
    found = sha(disk)
    if found == output:
        return Decision(status="unchanged", output=output)
    if force or found == before:
        return Decision(status="updated", write=new, output=output)
    if output == before:
        # Nothing new: what the person made of it stays. Once it was seen it is as it is to be.
        known = entry is not None and entry.kept == found
        return Decision(status="unchanged" if known else "kept", output=output, kept=found)
    if entry is not None and entry.pending == output:
        if beside is None:
            # The person took away what was offered: they have made of it what they wanted.
            return Decision(status="unchanged", output=output, kept=found)
        return Decision(status="conflict", output=before, kept=found, pending=output)
    earlier = base(before) if before else None
    merged = None if earlier is None else merge(disk, earlier, new)
    if merged is None:
        return Decision(status="conflict", beside=new, output=before, kept=found, pending=output)
    if merged == disk:
        return Decision(status="unchanged", output=output, kept=found)
    return Decision(status="merged", write=merged, output=output, kept=sha(merged))
