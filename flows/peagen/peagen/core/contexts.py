"""What templates see of a payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_extras(value: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping, with EXTRAS: {} where it has none."""
    return {**value, "EXTRAS": value.get("EXTRAS") or {}}


def package_context(project: Mapping[str, Any], package: Mapping[str, Any]) -> dict[str, Any]:
    """What the ptree of one package sees: PROJ, whose PKGS is this package alone."""
    modules = package.get("MODULES")
    shown = with_extras(package)
    shown["MODULES"] = [with_extras(module) for module in modules] if isinstance(modules, list) else []
    return {"PROJ": {**with_extras(project), "PKGS": [shown]}}


def file_context(project: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template and the prompt of one file see: FILE, and PROJ, PKG and MOD where the record names them."""
    context: dict[str, Any] = {"FILE": with_extras(record)}
    if not record.get("PROJECT_NAME"):
        return context
    packages = [with_extras(package) for package in project.get("PACKAGES") or []]
    for package in packages:
        package["MODULES"] = [with_extras(module) for module in package.get("MODULES") or []]
    context["PROJ"] = {**with_extras(project), "PACKAGES": packages}
    found = _named(packages, record.get("PACKAGE_NAME"))
    if found is not None:
        context["PKG"] = found
        module = _named(found["MODULES"], record.get("MODULE_NAME"))
        if module is not None:
            context["MOD"] = module
    return context


def _named(items: list[dict[str, Any]], name: object) -> dict[str, Any] | None:
    if name is None:
        return None
    # A ptree is text: a NAME that is a number in the payload may come back as either.
    return next((item for item in items if str(item.get("NAME")) == str(name)), None)
