"""The files of one project, as a run sees them."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from peagen.core.cache import sha_of
from peagen.core.contexts import ProjectContext
from peagen.core.lookup import Lookup
from peagen.core.records import FileRecord, extras
from peagen.core.worktree import file_sha

_PLACES = frozenset({"TEMPLATE_SET", "PTREE_SEARCH_PATHS"})
"""Fields of a record that tell where things are on this machine."""


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """One file that is to be made."""

    name: str
    """Relative to the work-tree: its id in the graph."""
    project: str
    context: ProjectContext = field(repr=False)
    """What it sees of the project."""
    shared_digest: str
    """Of the project and of the template set: where these are the same, the same files are found for the same names."""
    record: FileRecord = field(repr=False)
    set_name: str
    set_folder: Path
    process_type: str
    lookup: Lookup = field(repr=False)


class Digests:
    """Hashes of files, read once as long as they do not change."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int, int, str]] = {}

    def of(self, path: Path) -> str | None:
        """The hash; None where there is no file."""
        try:
            stat = path.stat()
            seen = self._known.get(path)
            if seen is not None and seen[:3] == (stat.st_mtime_ns, stat.st_size, stat.st_ino):
                return seen[3]
            digest = file_sha(path)
        except (OSError, ValueError):  # a name that none can have: too long, or with a character that is no text
            return None
        if digest is None:
            return None
        self._known[path] = stat.st_mtime_ns, stat.st_size, stat.st_ino, digest
        return digest


class Places:
    """Names for paths that mean the same on every machine: within the set, within the work-tree, or as they are."""

    def __init__(self, worktree: Path, overlay: Path | None = None) -> None:
        """`overlay`: where a dry run puts what it would write; looked into before the work-tree."""
        self._roots = [root for root in (overlay, worktree) if root is not None]

    def name(self, path: Path, set_folder: Path) -> str:
        """`set:…`, `work:…`, or the path itself."""
        # A set may be within the work-tree, but not the other way round.
        if path.is_relative_to(set_folder):
            return f"set:{path.relative_to(set_folder).as_posix()}"
        for root in self._roots:
            if path.is_relative_to(root):
                return f"work:{path.relative_to(root).as_posix()}"
        return path.as_posix()

    def path(self, name: str, set_folder: Path) -> Path:
        """The path that has this name here."""
        kind, colon, rest = name.partition(":")
        if colon and kind == "set":
            return set_folder / rest
        if colon and kind == "work":
            found = (root / rest for root in self._roots)
            return next((path for path in found if _is_there(path)), self._roots[-1] / rest)
        return Path(name)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def inputs_of(file: PlannedFile, used: Mapping[str, str | None]) -> str:
    """The hash of what goes into a file: its record, and the files that are used, their hashes by name."""
    record = {key: value for key, value in file.record.items() if key not in _PLACES}
    return sha_of([record, sorted(used.items())])


def declared(file: PlannedFile) -> list[str]:
    """The files that a record says it needs, which are looked at even where a template does not include them."""
    said = extras(file.record)
    named = [said.get(key) for key in ("DEPENDENCIES", "EXAMPLES")]
    names = {name for each in named if isinstance(each, list) for name in each if isinstance(name, str)}
    # As a template may look for them: from the root, and, as the file itself would name them, from its folder.
    names |= {posixpath.join(posixpath.dirname(file.name), name) for name in names if name.startswith(".")}
    return sorted({f"work:{posixpath.normpath(name)}" for name in names if _is_within(name)})


def _is_within(name: str) -> bool:
    """Whether it can be a file of the work-tree; what lies elsewhere is not even looked at."""
    return bool(name) and not posixpath.normpath(name).startswith(("/", ".."))
