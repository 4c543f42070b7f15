"""What a person may name: a file, a folder, a dotted module, and an attribute of one of them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from playground.project import PROJECT_FILE, Project, split_attribute

IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
"""Never searched and never watched; neither is a folder whose name begins with a dot."""


class Module(NamedTuple):
    """One module to load."""

    path: str
    """How it is shown and named: relative to the project, or dotted."""
    file: Path | None
    """None for a dotted module, which the import system finds."""
    attributes: tuple[str, ...] = ()
    """Named by the user; empty for whatever the module offers."""
    discovered: bool = False
    """Found in a folder rather than named."""


class Missing(NamedTuple):
    """A target that leads nowhere."""

    path: str
    message: str


def find_modules(targets: Sequence[str], project: Project, cwd: Path) -> list[Module | Missing]:
    """What the targets mean, each module once, in the order of the targets.

    A path is taken relative to `cwd`, then to the project's root.
    """
    found: dict[str, Module | Missing] = {}
    for target in targets:
        for item in _resolve(target, project, cwd):
            known = found.get(item.path)
            found[item.path] = _merge(known, item) if isinstance(known, Module) and isinstance(item, Module) else item
    return list(found.values())


def _merge(one: Module, other: Module) -> Module:
    attributes = tuple(dict.fromkeys(one.attributes + other.attributes))
    return other._replace(attributes=attributes, discovered=one.discovered and other.discovered)


def _resolve(target: str, project: Project, cwd: Path) -> Iterable[Module | Missing]:
    place, attribute = split_attribute(target)
    attributes = (attribute,) if attribute else ()
    path = next((base / place for base in (cwd, project.root) if (base / place).exists()), None)
    if path is not None:
        path = Path(os.path.normpath(path))
        if path.is_dir():
            return _resolve_folder(path, project, attributes)
        if path.suffix == ".py":
            return [Module(relative_path(path, project), path, attributes)]
        return [Missing(relative_path(path, project), f"{place} is neither a Python file nor a folder")]
    if "/" in place or os.sep in place or place.endswith(".py"):
        return [Missing(place, f"{place}: no such file or folder")]
    if all(part.isidentifier() for part in place.split(".")):
        return [Module(place, None, attributes)]
    return [Missing(place, f"{place} is no file, folder or module name")]


def _resolve_folder(folder: Path, project: Project, attributes: tuple[str, ...]) -> Iterable[Module | Missing]:
    shown = relative_path(folder, project)
    if attributes or (is_package(folder) and not _is_bare(folder / "__init__.py")):
        return [Module(shown, folder / "__init__.py", attributes)]
    inside = [Module(relative_path(path, project), _source(path), discovered=True) for path in modules_in(folder)]
    return inside or [Missing(shown, f"{shown} is a folder without Python modules")]


def modules_in(folder: Path) -> Iterator[Path]:
    """The modules of a folder: files and packages, by name; private ones and other projects are left out."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(("_", ".")) or entry.name in IGNORED_FOLDERS:
            continue
        if is_package(entry):
            if not (entry / PROJECT_FILE).exists():
                yield entry
        elif entry.suffix == ".py" and entry.is_file():
            yield entry


def is_package(folder: Path) -> bool:
    """True for a folder with an `__init__.py`."""
    return (folder / "__init__.py").is_file()


def relative_path(path: Path, project: Project) -> str:
    """A path as it is shown: relative to the project when it is inside, with forward slashes."""
    try:
        return path.relative_to(project.root).as_posix()
    except ValueError:
        return path.as_posix()


def module_name(file: Path, roots: Sequence[Path]) -> str | None:
    """The dotted name of a file under the first of the roots that holds it; None when it has none."""
    for root in roots:
        try:
            parts = list(file.relative_to(root).with_suffix("").parts)
        except ValueError:
            continue
        if parts[-1] == "__init__":
            parts.pop()
        if parts and all(part.isidentifier() for part in parts):
            return ".".join(parts)
    return None


def _source(path: Path) -> Path:
    return path / "__init__.py" if path.is_dir() else path


def _is_bare(file: Path) -> bool:
    """True for an `__init__.py` that does nothing: its folder is then a plain folder of modules."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    return all(
        (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")
        for statement in body
    )
