"""Reading a projects payload: what is to be generated."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peagen.core.documents import SCHEMAS, DocumentError, Lines, kind_of, parse_yaml, schema_problem, shown
from peagen.errors import MissingProjectsListError, ProjectsPayloadFormatError, ProjectsPayloadValidationError

log = logging.getLogger("peagen")

SCHEMA = SCHEMAS / "projects_payload.v1.0.0.json"
_MAX_ERRORS = 20
_MAX_PATH = 250  # bytes; longer than that is a text, not a path
_MAX_VALUES = 5_000_000  # that a document may stand for: YAML's aliases make few lines many values

PayloadSource = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def load_projects_payload(source: PayloadSource) -> list[dict[str, Any]]:
    """The projects of a payload, validated.

    Args:
        source: a path, a YAML text, or a document that is loaded already: a mapping with PROJECTS, or a list
            of projects. `schemaVersion` may be left out.

    Returns:
        The projects in order. A group (the PROJECTS of one point of an experiment) is resolved: each of its
        projects comes with the group's META.

    Raises:
        ProjectsPayloadFormatError: no such file, no YAML, or neither a mapping nor a list.
        MissingProjectsListError: a mapping without a list of PROJECTS.
        ProjectsPayloadValidationError: its `errors` tell each place by path and, of a text, by line.
    """
    document, text, where = _document(source)
    if _values(document, where) > _MAX_VALUES:
        raise ProjectsPayloadFormatError("the document's aliases stand for too many values", where=where)
    if isinstance(document, list):
        _validate({"PROJECTS": document}, text, where, root_is_list=True)
        return _projects(document)
    if not isinstance(document, Mapping):
        raise ProjectsPayloadFormatError(
            f"a payload is a mapping with a list of PROJECTS, not {kind_of(document)}", where=where
        )
    if not isinstance(document.get("PROJECTS"), list):
        raise MissingProjectsListError(
            "the payload has no list of PROJECTS" if "PROJECTS" not in document else "PROJECTS is no list",
            where=where,
            hint="It begins with `PROJECTS:`, and then has one `- NAME: …` for each project.",
        )
    _validate(document, text, where)
    return _projects(document["PROJECTS"])


def _projects(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    projects: list[dict[str, Any]] = []
    for entry in entries:
        if "PROJECTS" in entry:
            meta = {"META": entry["META"]} if entry.get("META") is not None else {}
            projects += [{**meta, **project} for project in entry["PROJECTS"]]
        else:
            projects.append(entry if isinstance(entry, dict) else dict(entry))
    for project in projects:
        if "PACKAGES" not in project and "FILES" not in project:
            called = "; PKGS is called PACKAGES" if "PKGS" in project else ""
            log.warning("The project %s has no PACKAGES, so nothing is made for it%s", project["NAME"], called)
    return projects


def _document(source: PayloadSource) -> tuple[Any, str, str]:
    """The document, its text ("" if it was none), and what to call it."""
    if isinstance(source, str):
        is_text = "\n" in source or "\0" in source or not 0 < len(source.encode(errors="replace")) <= _MAX_PATH
        path = None if is_text else Path(source)
        if path is None or not (path.exists() or path.suffix.lower() in {".yml", ".yaml", ".json"}):
            return _parsed(source, "the payload's text"), source, "the payload's text"
        source = path
    if not isinstance(source, os.PathLike):
        return source, "", "the payload"
    where = os.fspath(source)
    try:
        text = Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProjectsPayloadFormatError(f"the file is not UTF-8 (byte {error.start})", where=where) from None
    except OSError as error:
        raise ProjectsPayloadFormatError(
            f"the payload cannot be read: {error.strerror}", where=where, hint="Name a YAML file with PROJECTS."
        ) from None
    return _parsed(text, where), text, where


def _parsed(text: str, where: str) -> Any:
    if where.endswith(".json"):
        with contextlib.suppress(ValueError, RecursionError):  # told as YAML, with the line
            return json.loads(text)
    try:
        return parse_yaml(text, where)
    except DocumentError as error:
        raise ProjectsPayloadFormatError(error.message, where=error.where) from None


def _values(document: Any, where: str) -> int:
    """How many values the document stands for, aliases written out."""
    sizes: dict[int, int] = {}

    def size(value: Any) -> int:
        if not isinstance(value, Mapping | list):
            return 1
        known = sizes.get(id(value))
        if known is None:
            sizes[id(value)] = -1
            items = value.values() if isinstance(value, Mapping) else value
            known = sizes[id(value)] = 1 + sum(size(item) for item in items)
        if known < 0:
            raise ProjectsPayloadFormatError("the document contains itself", where=where)
        return known

    try:
        return size(document)
    except RecursionError:
        raise ProjectsPayloadFormatError("the document is nested too deeply", where=where) from None


@functools.cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _validate(document: Mapping[str, Any], text: str, where: str, *, root_is_list: bool = False) -> None:
    problems: list[str] = []
    more = 0
    lines: Lines | None = None
    for error in _validator().iter_errors(document):
        if len(problems) == _MAX_ERRORS:
            more += 1
            continue
        lines = lines or Lines(text)
        path, key, message = schema_problem(error)
        place = path[1:] if root_is_list else path
        line = lines.of([*place, key] if key is not None else place)
        at = f" (line {line})" if line else ""
        problems.append(f"{shown(path)} – {message}{at}")  # noqa: RUF001 -- the message's form is public
    if "EXPERIMENT" in _keys_of_projects(document) and "SOURCE" not in document:
        problems.append("SOURCE – is required where a project has an EXPERIMENT")  # noqa: RUF001
    if more:
        problems.append(f"… and {more} more")
    if problems:
        raise ProjectsPayloadValidationError(problems, where=where)


def _keys_of_projects(document: Mapping[str, Any]) -> set[str]:
    entries = [entry for entry in document["PROJECTS"] if isinstance(entry, Mapping)]
    within = [entry.get("PROJECTS") for entry in entries]
    entries += [
        project for group in within if isinstance(group, list) for project in group if isinstance(project, dict)
    ]
    return {key for entry in entries for key in entry if isinstance(key, str)}
