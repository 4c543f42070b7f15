"""What a ptree says about one file, and how its fields are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from peagen.errors import PtreeError

FileRecord = dict[str, Any]
"""One file: FILE_NAME (its template, not rendered), RENDERED_FILE_NAME (where it goes), PROCESS_TYPE, EXTRAS, …"""

ProcessType = Literal["COPY", "GENERATE"]


def node_id(record: Mapping[str, Any]) -> str:
    """The file's name in the graph: where it goes, relative to the work-tree, exactly as the ptree says it."""
    name = record.get("RENDERED_FILE_NAME")
    if not isinstance(name, str) or not name:
        raise PtreeError(
            f"a file record has no RENDERED_FILE_NAME (its FILE_NAME is {record.get('FILE_NAME')!r})",
            hint="Every record of a ptree names the file that it makes.",
        )
    return name


def extras(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record's EXTRAS; empty when there are none."""
    found = record.get("EXTRAS")
    return found if isinstance(found, dict) else {}


def dependencies(record: Mapping[str, Any]) -> list[str]:
    """The names that the file depends on, as they are written; they need not be files of the payload."""
    named = extras(record).get("DEPENDENCIES")
    if named is None or named == "":
        return []
    if not isinstance(named, list | tuple | set | frozenset):
        raise PtreeError(
            f"EXTRAS.DEPENDENCIES must be a list of file names, not {named!r}",
            where=str(record.get("RENDERED_FILE_NAME", "")),
        )
    return [str(name) for name in named if name is not None]


def process_type(record: Mapping[str, Any]) -> ProcessType:
    """COPY (also when nothing is said) or GENERATE, in whatever case it is written."""
    said = record.get("PROCESS_TYPE") or "COPY"
    match str(said).strip().upper():
        case "COPY":
            return "COPY"
        case "GENERATE":
            return "GENERATE"
    raise PtreeError(
        f"PROCESS_TYPE {said!r} is not known",
        where=str(record.get("RENDERED_FILE_NAME", "")),
        hint="It is COPY or GENERATE.",
    )
