"""Where template sets are, and where the files of one record are looked for."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal

from peagen.core.records import node_id
from peagen.errors import TemplateFailed, TemplateSetNotFound, TemplateUnsafe

log = logging.getLogger("peagen")

PTREE = "ptree.yaml.j2"
ENTRY_POINTS = "peagen.template_sets"
_BUNDLED = Path(__file__).parent.parent / "template_sets"
_IGNORED = {"__pycache__", "node_modules"}


@dataclass(frozen=True)
class TemplateSet:
    """A folder with a ptree and templates."""

    name: str
    folder: Path
    source: Literal["bundled", "entry point", "folder"]
    distribution: str | None = None
    """What was installed to bring it."""
    other_locations: tuple[Path, ...] = ()
    """Sets of the same name that this one hides."""

    @property
    def ptree(self) -> Path:
        return self.folder / PTREE

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Its files by relative name, in order."""
        return tuple(sorted(path.relative_to(self.folder).as_posix() for path in _walk(self.folder)))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its files' names and content."""
        digest = hashlib.sha256()
        for name in self.files:
            try:
                with (self.folder / name).open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise TemplateFailed(f"a file of the template set cannot be read: {error}", where=self.name) from None
            digest.update(os.fsencode(f"{name}\0{content}\n"))
        return digest.hexdigest()


def sets_home() -> Path:
    """Where `peagen local template-set add` puts sets: `PEAGEN_HOME`, or `~/.peagen`, with `template_sets` below it."""
    return Path(os.environ.get("PEAGEN_HOME") or Path.home() / ".peagen") / "template_sets"


def set_roots(worktree: Path, further: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The folders that every command looks for sets in, in order: named ones, added ones, the work-tree, this one."""
    return tuple(dict.fromkeys((*further, sets_home(), worktree, Path.cwd())))


class TemplateSets:
    """The sets there are: bundled ones, then installed ones (entry points), then folders in `roots`.

    The first of a name counts. Nothing is imported to find them.
    """

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self.roots = tuple(root.resolve() for root in roots)

    def all(self) -> dict[str, TemplateSet]:
        """The sets by name, in order. A folder of a root is a set if it has a ptree."""
        found: dict[str, list[TemplateSet]] = {}
        for candidate in [*self._installed, *self._in_roots()]:
            found.setdefault(candidate.name, []).append(candidate)
        return {name: _first(found[name]) for name in sorted(found)}

    def find(self, name: str) -> TemplateSet:
        """The set of that name, or in that folder (relative to a root, or absolute); else `TemplateSetNotFound`."""
        found = [candidate for candidate in self._installed if candidate.name == name]
        for root in self.roots:
            folder = root / name
            if name and _is(Path.is_dir, folder):
                found.append(TemplateSet(name, folder.resolve(), "folder"))
        if found:
            return _first(found)
        names = list(self.all())
        near = difflib.get_close_matches(name, names, 1)
        raise TemplateSetNotFound(
            f"Template-set '{name}' not found",
            hint=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names) or 'none'}.",
        )

    @cached_property
    def _installed(self) -> list[TemplateSet]:
        bundled = [
            TemplateSet(folder.name, folder, "bundled")
            for folder in (sorted(_BUNDLED.iterdir()) if _BUNDLED.is_dir() else [])
            if folder.is_dir() and folder.name not in _IGNORED
        ]
        return [*bundled, *_entry_points()]

    def _in_roots(self) -> Iterator[TemplateSet]:
        for root in self.roots:
            for folder in sorted(root.iterdir()) if root.is_dir() else []:
                if (folder / PTREE).is_file():
                    yield TemplateSet(folder.name, folder.resolve(), "folder")


@dataclass(frozen=True)
class Lookup:
    """Where the templates and the data of one record are looked for.

    Templates are in the set's folder. A file of the work-tree is a template only where a record names it as its
    own (FILE_NAME, AGENT_PROMPT_TEMPLATE) and no run makes it (`outputs`); included, it is always data.
    """

    set_folders: tuple[Path, ...]
    worktree: Path
    outputs: frozenset[str] = frozenset()
    ahead: Path | None = None
    """Where data is looked for before the work-tree: what a dry run would write there."""

    @property
    def data_paths(self) -> tuple[Path, ...]:
        """Where data is looked for."""
        return (self.worktree,) if self.ahead is None else (self.ahead, self.worktree)

    @classmethod
    def of(cls, record: Mapping[str, Any], worktree: Path, outputs: Collection[str] = ()) -> Lookup:
        """For a record as `project_records` makes it; one without a TEMPLATE_SET has only the work-tree."""
        named = [record["TEMPLATE_SET"]] if record.get("TEMPLATE_SET") else []
        folders = dict.fromkeys(Path(folder) for folder in [*named, *(record.get("PTREE_SEARCH_PATHS") or [])])
        return cls(tuple(folders), worktree.resolve(), frozenset(outputs))

    def template(self, record: Mapping[str, Any]) -> Path:
        """The template that FILE_NAME names, braces and all; `TemplateFailed` if there is none."""
        name = str(record.get("FILE_NAME") or "")
        path = self._template_at(name)
        if path is None:
            raise TemplateFailed(
                f"there is no template {name!r}" if name else "the record has no FILE_NAME",
                where=node_id(record),
                hint=f"Looked in {self._places()}. A ptree names a template as it lies there, not rendered.",
            )
        return path

    def prompt(self, name: str) -> Path | None:
        """The prompt template of that name: in the set, in the work-tree, or anywhere within them by its last part."""
        path = self._template_at(name)
        if path is not None:
            return path
        last = Path(name).name
        for folder in (*self.set_folders, self.worktree):
            for path in _walk(folder):
                if path.name == last:
                    found = self._template_at(path.relative_to(folder).as_posix())
                    if found is not None:
                        return found
        return None

    def of_set(self, name: str) -> Path | None:
        """The file of that name in the template set itself; None if there is none."""
        return self._template_at(name, self.set_folders)

    def _template_at(self, name: str, folders: Sequence[Path] | None = None) -> Path | None:
        relative = Path(name)
        if not name or "\0" in name:
            return None
        if ".." in relative.parts:
            raise TemplateUnsafe(f"{name!r} leads out of the template set", where=name)
        for folder in (*self.set_folders, self.worktree) if folders is None else folders:
            path = folder / relative  # an absolute one has to lie within, too
            if not _is(Path.is_file, path):
                continue
            resolved = path.resolve()
            if not resolved.is_relative_to(folder.resolve()):
                raise TemplateUnsafe(f"{name!r} leads out of {folder}", where=name)
            if folder == self.worktree and resolved.relative_to(folder).as_posix() in self.outputs:
                raise TemplateUnsafe(
                    f"{name!r} is a file that is generated; it cannot be a template",
                    where=name,
                    hint="What a model wrote is never evaluated. Put the template into the template set.",
                )
            return path
        return None

    def _places(self) -> str:
        return " and ".join(str(folder) for folder in (*self.set_folders, self.worktree))


def _first(found: Sequence[TemplateSet]) -> TemplateSet:
    first, *others = found
    hidden = tuple(other.folder for other in others if other.folder != first.folder)
    return TemplateSet(first.name, first.folder, first.source, first.distribution, hidden)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def _walk(folder: Path) -> Iterator[Path]:
    """The files below a folder, in order; not what is hidden, compiled or installed."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _IGNORED and not _is_hidden(where, name))
        for name in sorted(files):
            path = Path(where, name)
            if not name.endswith(".pyc") and _is(Path.is_file, path):  # a pipe or a device would never end
                yield path


def _is_hidden(where: str, name: str) -> bool:
    # `.github/` belongs to a set; the rest is git's, an editor's, a virtual environment.
    return name in {".git", ".peagen", ".venv", ".tox", ".mypy_cache", ".ruff_cache", ".pytest_cache"} or (
        Path(where, name, "pyvenv.cfg").is_file()
    )


def _entry_points() -> Iterator[TemplateSet]:
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        folder = _folder_of(point.module)
        if folder is None:
            log.warning("The template set %r is registered, but %s is not there", point.name, point.module)
            continue
        yield TemplateSet(point.name, folder, "entry point", point.dist.name if point.dist else None)


def _folder_of(module: str) -> Path | None:
    """The folder of a module or package. Found without importing its parents: a set is only files."""
    path: Sequence[str] | None = None
    spec = None
    parts = module.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    if path:
        return Path(path[0]).resolve()
    return Path(spec.origin).parent.resolve() if spec is not None and spec.origin else None
