"""Trees of files: copied so that nothing is overwritten unasked, and nothing lands elsewhere."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from peagen.errors import PathEscape, PeagenError

_LEFT_OUT = {".git", "__pycache__"}


class WouldReplace(PeagenError):
    """Files that are here differ from those that would be fetched."""


def merge_tree(source: Path, folder: Path, *, force: bool) -> bool:
    """Copy a tree into another one; returns whether anything changed.

    Raises:
        WouldReplace: a file is there with other content, and `force` is not set. Then nothing is copied.
    """
    if folder == source:
        return False
    if folder.is_relative_to(source):
        raise PeagenError(
            f"{folder} is within {source}: it cannot be copied into itself", hint="fetch into another folder"
        )
    wanted = [path for path in files_of(source) if not _same(path, folder / path.relative_to(source))]
    taken = [str(path.relative_to(source)) for path in wanted if (folder / path.relative_to(source)).exists()]
    if taken and not force:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise WouldReplace(
            f"{taken[0]}{more} is here with other content", where=str(folder), hint="--force replaces it"
        )
    for path in wanted:
        target = folder / path.relative_to(source)
        if not target.parent.resolve().is_relative_to(folder):
            raise PathEscape("a symbolic link leads out of the folder", where=str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            target.unlink()
        shutil.copy2(path, target)
    return bool(wanted)


def add_missing(source: Path, folder: Path) -> bool:
    """Copies what is not there; what is there stays."""
    added = False
    for path in files_of(source):
        target = folder / path.relative_to(source)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            added = True
    return added


def tree_checksum(folder: Path) -> str:
    """A hash of all names and contents."""
    digest = hashlib.sha256()
    for path in files_of(folder):
        digest.update(
            f"{path.relative_to(folder).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def files_of(folder: Path) -> Iterator[Path]:
    """The files below a folder, in order; not git's own, nor links that lead out of it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _LEFT_OUT.intersection(path.relative_to(folder).parts):
            # A link may lead to what was never meant to be copied.
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                continue
            yield path


def _same(path: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(path, other, shallow=False)
