"""What templates see of a payload."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from peagen.core.sandbox import packed


def with_extras(value: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping, with EXTRAS: {} where it has none."""
    return {**value, "EXTRAS": value.get("EXTRAS") or {}}


def as_file(record: Mapping[str, Any]) -> dict[str, Any]:
    """What FILE is: a record whose DEPENDENCIES are null, as a loop without a round leaves them, has none."""
    shown = with_extras(record)
    extras = shown["EXTRAS"]
    if isinstance(extras, Mapping) and "DEPENDENCIES" in extras and extras["DEPENDENCIES"] is None:
        shown["EXTRAS"] = {**extras, "DEPENDENCIES": []}
    return shown


def package_context(project: Mapping[str, Any], package: Mapping[str, Any]) -> dict[str, Any]:
    """What the ptree of one package sees: PROJ, whose PKGS is this package alone."""
    modules = package.get("MODULES")
    shown = with_extras(package)
    shown["MODULES"] = [with_extras(module) for module in modules] if isinstance(modules, list) else []
    return {"PROJ": {**with_extras(project), "PKGS": [shown]}}


class ProjectContext:
    """What the files of one project see alike, and what each of them sees of it."""

    def __init__(self, project: Mapping[str, Any]) -> None:
        packages = [with_extras(package) for package in project.get("PACKAGES") or []]
        for package in packages:
            package["MODULES"] = [with_extras(module) for module in package.get("MODULES") or []]
        self._packages = packages
        self.shared: dict[str, Any] = {"PROJ": {**with_extras(project), "PACKAGES": packages}}

    @cached_property
    def packed(self) -> bytes:
        """`shared`, as a renderer takes it."""
        return packed(self.shared)

    def parts(self, record: Mapping[str, Any]) -> dict[str, tuple[str | int, ...]]:
        """Where in `shared` the PKG and the MOD of a record are; empty for what the record does not name."""
        at = _place(self._packages, record.get("PACKAGE_NAME"))
        if at is None:
            return {}
        found: dict[str, tuple[str | int, ...]] = {"PKG": ("PROJ", "PACKAGES", at)}
        inner = _place(self._packages[at]["MODULES"], record.get("MODULE_NAME"))
        return found if inner is None else {**found, "MOD": ("PROJ", "PACKAGES", at, "MODULES", inner)}


def file_context(project: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template and the prompt of one file see: FILE, and PROJ, PKG and MOD where the record names them."""
    context: dict[str, Any] = {"FILE": as_file(record)}
    if not record.get("PROJECT_NAME"):
        return context
    found = ProjectContext(project)
    for name, path in found.parts(record).items():
        part: Any = found.shared
        for step in path:
            part = part[step]
        context[name] = part
    return {**found.shared, **context}


def _place(items: list[dict[str, Any]], name: object) -> int | None:
    if name is None:
        return None
    # A ptree is text: a NAME that is a number in the payload may come back as either.
    return next((at for at, item in enumerate(items) if str(item.get("NAME")) == str(name)), None)
