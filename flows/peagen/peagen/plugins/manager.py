"""Finds plugins by name, and makes them as the configuration says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from peagen.errors import InvalidPluginSpecError
from peagen.plugins.groups import GROUPS, PREFIX, Group

MODES = ("fan-out", "fallback", "switch")


class DuplicatePlugin(InvalidPluginSpecError, RuntimeError):
    """Two installed plugins of one kind have the same name."""


class PluginManager:
    """Plugins of a configuration. Nothing is imported before it is asked for.

    What is built in and what installed packages bring as entry points stand side by side. `[plugins] mode` says what
    becomes of them:

    - `fan-out`, the default: all of them; two of one name are an error (`DuplicatePlugin`, a `RuntimeError`).
    - `fallback`: all of them; of one name, what is built in wins.
    - `switch`: of a group that `[plugins.switch]` names a plugin for, that one and no other.
    """

    def __init__(self, config: Any = None) -> None:
        """`config`: a `peagen.config.Config`, a mapping of tables, or None.

        Raises `InvalidPluginSpecError` for a mode that there is not.
        """
        self._tables: Mapping[str, Any] = getattr(config, "raw", config) or {}
        plugins = _table(self._tables, "plugins")
        self.mode = str(plugins.get("mode", MODES[0]))
        self._switch = _table(plugins, "switch")
        if self.mode not in MODES:
            raise InvalidPluginSpecError(
                f"there is no mode {self.mode!r} of plugins",
                where="[plugins] mode",
                hint=f"say one of {', '.join(MODES)}",
            )

    def names(self, group: str) -> list[str]:
        """Plugins that there are, sorted."""
        return sorted(self._found(_group(group)))

    def default(self, group: str) -> str | None:
        """The plugin that is taken where none is named: the switch's, the configuration's, or the only one."""
        about = _group(group)
        if self.mode == "switch" and (switched := self._switched(about)) is not None:
            return switched
        section = _table(self._tables, about.section)
        named = section.get(about.default)
        for table in about.items:
            named = named or _table(section, table).get(about.default)
        if isinstance(named, str) and named:
            return named
        found = self.names(group)
        return found[0] if len(found) == 1 else None

    def options(self, group: str, name: str) -> dict[str, Any]:
        """What the configuration says a plugin is made with."""
        about = _group(group)
        section = _table(self._tables, about.section)
        options: dict[str, Any] = {}
        for table in about.items:
            options |= _table(_table(section, table), name)
        return options

    def load(self, group: str, name: str) -> type[Any]:
        """The class of a plugin. Raises `InvalidPluginSpecError` for one that is not there, or is no such plugin."""
        about = _group(group)
        found = self._found(about)
        if name not in found:
            known = ", ".join(sorted(found)) or "none is installed"
            raise InvalidPluginSpecError(
                f"Expected an entry-point name: {name!r} is none of {about.entry_points}", hint=f"There are: {known}."
            )
        source = found[name]
        loaded = source.load() if isinstance(source, EntryPoint) else _import(source)
        missing = [each for each in about.methods if not callable(getattr(loaded, each, None))]
        if not inspect.isclass(loaded) or missing:
            lacks = f"has no {missing[0]}()" if inspect.isclass(loaded) else "is no class"
            raise InvalidPluginSpecError(f"the plugin {name!r} of {about.entry_points} {lacks}")
        return loaded

    def get(self, group: str, name: str | None = None, **options: Any) -> Any:
        """A plugin, made with what the configuration says and `options` on top; without a name the default one.

        Raises:
            InvalidPluginSpecError: it is not there, none is named, or it does not take what it is made with.
        """
        chosen = name or self.default(group)
        if chosen is None:
            about, known = _group(group), ", ".join(self.names(group)) or "none is installed"
            raise InvalidPluginSpecError(
                f"no plugin of {about.entry_points} is named",
                hint=f"Set {about.default} in [{about.section}]. There are: {known}.",
            )
        made = self.load(group, chosen)
        given = self.options(group, chosen) | options
        if _group(group).name == "publishers":
            given.pop("channel", None)  # is for whoever publishes
        try:
            inspect.signature(made).bind(**given)
        except TypeError as error:
            where = f"[{_group(group).section}.{_group(group).items[0]}.{chosen}]"
            raise InvalidPluginSpecError(f"the plugin {chosen!r} cannot be made so: {error}", where=where) from None
        return made(**given)

    def all(self, group: str) -> dict[str, Any]:
        """Every plugin of a group by name, each made as the configuration says."""
        return {name: self.get(group, name) for name in self.names(group)}

    def _switched(self, about: Group) -> str | None:
        named = self._switch.get(about.name, self._switch.get(about.entry_points))
        return None if named is None else str(named)

    def _found(self, about: Group) -> dict[str, EntryPoint | str]:
        found: dict[str, EntryPoint | str] = dict(about.built_in)
        for point in entry_points(group=about.entry_points):
            if about.built_in.get(point.name) == point.value:
                continue  # our own, installed
            if point.name not in found:
                found[point.name] = point
            elif self.mode == "switch" and isinstance(found[point.name], str):
                found[point.name] = point  # who switches may mean another one of that name
            elif self.mode != "fallback":
                raise DuplicatePlugin(
                    f"there are two plugins {point.name!r} of {about.entry_points}",
                    hint='Uninstall one, or set mode = "fallback" in [plugins].',
                )
        if self.mode != "switch" or (switched := self._switched(about)) is None:
            return found
        if switched not in found:
            raise InvalidPluginSpecError(
                f"Expected an entry-point name: {switched!r} is none of {about.entry_points}", where="[plugins.switch]"
            )
        return {switched: found[switched]}


def _group(name: str) -> Group:
    about = GROUPS.get(name.removeprefix(PREFIX)) or next((g for g in GROUPS.values() if g.entry_points == name), None)
    if about is None:
        raise InvalidPluginSpecError(f"there is no group {name!r} of plugins", hint=f"There are: {', '.join(GROUPS)}.")
    return about


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = tables.get(name)
    return dict(found) if isinstance(found, Mapping) else {}


def _import(spec: str) -> Any:
    module, _, name = spec.partition(":")
    return getattr(import_module(module), name)
