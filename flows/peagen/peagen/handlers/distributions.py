"""Which folders of a distribution or a Python project are template sets, by what it declares; nothing is imported."""

from __future__ import annotations

import configparser
import importlib.metadata
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peagen.core.lookup import ENTRY_POINTS


@dataclass(frozen=True)
class SetFolder:
    """A set in a source."""

    name: str
    folder: Path
    distribution: str | None = None
    version: str | None = None


def installed_sets(folder: Path) -> list[SetFolder]:
    """Those of the distributions that are unpacked in a folder."""
    found = []
    for distribution in importlib.metadata.distributions(path=[str(folder)]):
        points = distribution.entry_points.select(group=ENTRY_POINTS)
        for point in points:
            place = _folder_of(point.value, [folder])
            if place is not None and is_set_name(point.name):
                found.append(SetFolder(point.name, place, distribution.metadata["Name"], distribution.version))
    return sorted(found, key=lambda each: each.name)


def sets_of_project(folder: Path) -> list[SetFolder]:
    """Those that a project's pyproject.toml or setup.cfg declares, found in its sources."""
    roots = [folder / "src", folder]
    return [
        SetFolder(name, place)
        for name, value in sorted(_declared(folder).items())
        if (place := _folder_of(value, roots)) is not None and is_set_name(name)
    ]


def _declared(folder: Path) -> Mapping[str, str]:
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        for section in (
            document.get("project", {}).get("entry-points"),
            document.get("tool", {}).get("poetry", {}).get("plugins"),
        ):
            if isinstance(section, dict) and isinstance(section.get(ENTRY_POINTS), dict):
                return {str(name): str(value) for name, value in section[ENTRY_POINTS].items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError):
        pass
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "setup.cfg", encoding="utf-8")
        text = parser.get("options.entry_points", ENTRY_POINTS, fallback="")
    except (configparser.Error, UnicodeDecodeError):
        return {}
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _folder_of(value: str, roots: list[Path]) -> Path | None:
    parts = value.partition(":")[0].strip().split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for root in roots:
        folder = root.joinpath(*parts)
        if folder.is_dir():
            return folder
        if folder.with_suffix(".py").is_file():
            return folder.parent
    return None


def is_set_name(name: str) -> bool:
    """Whether a set may be called so: a folder's name, not hidden."""
    return bool(name) and name not in {".", ".."} and not any(char in name for char in "/\\\0") and name[0] != "."
