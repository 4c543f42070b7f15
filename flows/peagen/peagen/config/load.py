"""Finds, reads, merges and checks a configuration."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from peagen.config.lines import line_of, lines_of
from peagen.config.llm import LlmConfig
from peagen.config.models import Config, PluginSection
from peagen.config.variables import quote_bare, replace
from peagen.errors import ConfigError

FILE_NAME = ".peagen.toml"
BUILT_INS: dict[str, Any] = {
    "queues": {"default_queue": "in_memory"},
    "mutation": {"default_mutator": "DefaultMutator"},
    "vcs": {"default_vcs": "git"},
    "secrets": {"default_secret": "env"},
    "result_backends": {"default_backend": "local_fs", "adapters": {"local_fs": {"root_dir": "./task_runs"}}},
    "storage": {"default_filter": "file", "filters": {"file": {"output_dir": "./peagen_artifacts"}}},
}
_MAX_BYTES = 4_000_000


def find_config(path: Path | None, worktree: Path | None = None) -> Path | None:
    """The file that counts: the one that is named (a file, or the folder that it is in), the work-tree's, ours.

    Raises:
        ConfigError: the one that is named is not there.
    """
    if path is not None:
        found = path / FILE_NAME if path.is_dir() else path
        if not found.is_file():
            raise ConfigError(
                f"there is no configuration at {found}", hint="name a file, or a folder with .peagen.toml"
            )
        return found
    for folder in (worktree, Path.cwd()):
        if folder is not None and (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def load_config(
    path: Path | None = None,
    worktree: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The built-in defaults, under those of the file, under `overrides`; merged table by table.

    Args:
        path: the file, or its folder; without it that of the work-tree counts, else that of the current folder.
        overrides: what one task says, as tables.
        environ: where `${VAR}` looks; the process's own by default.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or a value in it is wrong; with its line.
    """
    env = os.environ if environ is None else environ
    found = find_config(path, worktree)
    text = "" if found is None else _read(found)
    where = "the defaults" if found is None else str(found)
    try:
        own = replace(tomllib.loads(quote_bare(text, env)), env)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"it is not TOML: {error}", where=where) from None
    except RecursionError:
        raise ConfigError("it is nested too deeply", where=where) from None
    merged = merge(merge(BUILT_INS, own), overrides or {})
    lines = lines_of(text)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_told(error, lines), where=where) from None
    config._path = found
    config._raw = merged
    for unknown in _unknown(Config, own, ()):
        line = line_of(lines, unknown)
        at = f"{where}:{line}" if line else where
        config._warnings.append(f"{at}: nobody reads {'.'.join(unknown)}")
    return config


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping: tables are merged, everything else of `above` takes the place of that `below`."""
    merged = {key: merge(value, {}) if isinstance(value, Mapping) else value for key, value in below.items()}
    for key, value in above.items():
        lower = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(lower if isinstance(lower, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"it is larger than {_MAX_BYTES} bytes", where=str(path))
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError("it is not UTF-8", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}", where=str(path)) from None


def _told(error: ValidationError, lines: dict[tuple[str, ...], int]) -> str:
    """Every wrong value in one line; never the value itself, which may be a secret."""
    told = []
    for each in error.errors(include_input=False, include_url=False):
        path = tuple(str(part) for part in each["loc"])
        line = line_of(lines, path)
        message = each["msg"].removeprefix("Value error, ")
        told.append(f"{'.'.join(path) or 'the file'}{f' (line {line})' if line else ''}: {message}")
    return "; ".join(told)


def _unknown(model: type[BaseModel], given: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    if issubclass(model, PluginSection):
        for name in ("default", "items"):
            known.pop(name)
        known |= dict.fromkeys((*model.default_keys, *model.item_keys, *model.other_keys))
    for key, value in given.items():
        here = (*path, key)
        if key not in known:
            # `[llm.openai]` belongs to whom it names; a plugin's section may say more than we know.
            if issubclass(model, LlmConfig | PluginSection) and isinstance(value, dict):
                continue
            yield here
            continue
        inner = _model_in(known[key])
        if inner is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from _unknown(inner, each, here)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None
