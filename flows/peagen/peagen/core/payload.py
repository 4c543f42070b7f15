"""Reading a projects payload: what is to be generated."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from peagen.errors import MissingProjectsListError, ProjectsPayloadFormatError, ProjectsPayloadValidationError

log = logging.getLogger("peagen")

SCHEMA = Path(__file__).parent.parent / "schemas" / "projects_payload.v1.0.0.json"
_MAX_ERRORS = 20
_MAX_MESSAGE = 200
_MAX_PATH = 250  # longer than that is a text, not a path
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
            f"a payload is a mapping with a list of PROJECTS, not {_kind(document)}", where=where
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
        path = None if "\n" in source or "\0" in source or not 0 < len(source) <= _MAX_PATH else Path(source)
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
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 -- a safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{where}:{mark.line + 1}" if mark is not None else where
        raise ProjectsPayloadFormatError(f"this is no YAML: {getattr(error, 'problem', error)}", where=at) from None
    except RecursionError:
        raise ProjectsPayloadFormatError("the document is nested too deeply", where=where) from None
    except ValueError as error:  # a date that there is not, as 2024-13-01
        raise ProjectsPayloadFormatError(f"a value cannot be read: {error}", where=where) from None


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
    lines: _Lines | None = None
    for error in _validator().iter_errors(document):
        if len(problems) == _MAX_ERRORS:
            more += 1
            continue
        lines = lines or _Lines(text)
        path = list(error.absolute_path)
        line = lines.of(path[1:] if root_is_list else path, _key_of(error))
        at = f" (line {line})" if line else ""
        problems.append(f"{_shown(path)} – {_message(error)}{at}")  # noqa: RUF001 -- the message's form is public
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


def _key_of(error: Any) -> str | None:
    """The key that should not be there, to tell its line."""
    if error.validator != "additionalProperties":
        return None
    return next((key for key in error.instance if key not in error.schema["properties"]), None)


def _message(error: Any) -> str:
    message = str(error.message)
    if error.validator == "type":
        wanted = error.validator_value
        names = wanted if isinstance(wanted, list) else [wanted]
        message = f"must be {' or '.join(_KINDS[name] for name in names)}, not {_kind(error.instance)}"
    elif error.validator == "required":
        message = f"{message.split(chr(39))[1]} is missing"  # one error for each that is; only its text names it
    elif error.validator == "additionalProperties":
        message = f"{_key_of(error)} is not known here; there are {', '.join(error.schema['properties'])}"
    elif error.validator == "minLength":
        message = "must not be empty"
    elif error.validator == "const":
        message = f"must be {error.validator_value!r}, not {error.instance!r}"
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}…"


_KINDS = {
    "array": "a list",
    "null": "empty",
    "number": "a number",
    "object": "a mapping",
    "string": "a text",
}


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"{str(value)[:60]!r}"


def _shown(path: Sequence[str | int]) -> str:
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return shown.lstrip(".") or "the root"


class _Lines:
    """Where things stand in a YAML text."""

    def __init__(self, text: str) -> None:
        import yaml

        self._root = yaml.compose(text, Loader=_loader()) if text else None

    def of(self, path: Sequence[str | int], key: str | None) -> int | None:
        """The line (from 1) of what is at `path`, or of `key` in it."""
        node = self._root
        line: int | None = node.start_mark.line + 1 if node is not None else None
        for part in [*path, key] if key is not None else path:
            for name, inner in _entries(node):
                if str(name) == str(part):
                    node, line = inner[1], inner[0].start_mark.line + 1
                    break
            else:
                return line
        return line


def _entries(node: Any) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    """The entries of a YAML node: name or index, and the nodes of the key (or item) and the value."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, (key, value)) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((i, (item, item)) for i, item in enumerate(node.value))
