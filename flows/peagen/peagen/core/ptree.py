"""From a project to the records of its files: the ptree of each package's template set is rendered and read."""

from __future__ import annotations

import contextlib
import logging
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peagen.core.contexts import package_context
from peagen.core.lookup import TemplateSet, TemplateSets
from peagen.core.records import FileRecord, dependencies, node_id
from peagen.core.sandbox import Renderer, RenderJob
from peagen.errors import PeagenError, PtreeError, TemplateFailed

log = logging.getLogger("peagen")


async def project_records(
    project: Mapping[str, Any],
    sets: TemplateSets,
    renderer: Renderer,
    *,
    template_set: str | None = None,
    worktree: Path | None = None,
    keep_in: Path | None = None,
) -> list[FileRecord]:
    """The records of all files of a project, in the order of its packages and their ptrees; not sorted.

    Args:
        project: of a payload. A package's set is its TEMPLATE_SET_OVERRIDE, else its TEMPLATE_SET, else the
            project's, else "default". A project that lists its FILES itself needs no set.
        template_set: a set for all packages, instead of what they name.
        worktree: what a ptree may include as data.
        keep_in: a folder for the rendered ptrees, to look at. Files that are already so are not touched.

    Raises:
        TemplateSetNotFound, TemplateFailed, PtreeError.
    """
    records: list[FileRecord] = []
    for package in project.get("PACKAGES") or []:
        name = template_set or set_name(project, package)
        found = sets.find(name)
        if not found.ptree.is_file():
            log.warning("The template set %r has no ptree; the package %s is left out", name, package.get("NAME"))
            continue
        records += await _package_records(project, package, found, renderer, worktree, keep_in)
    if isinstance(project.get("FILES"), list):
        where = f"FILES of {project.get('NAME')}"
        records += [_checked(dict(item), i, where) for i, item in enumerate(_mappings(project["FILES"], where))]
    return records


def set_name(project: Mapping[str, Any], package: Mapping[str, Any]) -> str:
    """The name of a package's template set."""
    named = package.get("TEMPLATE_SET_OVERRIDE") or package.get("TEMPLATE_SET") or project.get("TEMPLATE_SET")
    return str(named or "default")


async def _package_records(
    project: Mapping[str, Any],
    package: Mapping[str, Any],
    found: TemplateSet,
    renderer: Renderer,
    worktree: Path | None,
    keep_in: Path | None,
) -> list[FileRecord]:
    where = f"the ptree of {found.name!r} for the package {package.get('NAME')!r}"
    job = RenderJob(
        name="ptree.yaml.j2",
        context=package_context(project, package),
        template_path=found.ptree,
        search_path=(found.folder,),
        data_paths=(worktree,) if worktree is not None else (),
        parse_yaml=True,
        items=len(package.get("MODULES") or ()),
    )
    try:
        rendered = await renderer.render(job)
    except TemplateFailed as error:
        error.where = f"{where}, {error.where}"
        raise
    if keep_in is not None:
        _keep(keep_in / f"{slug(str(package.get('NAME')))}_ptree.yaml", rendered.text)
    value = rendered.value
    if isinstance(value, dict):
        value = value.get("FILES")
    if not isinstance(value, list):
        log.warning("%s has no list of files", where)
        return []
    return [
        _checked({**item, "TEMPLATE_SET": str(found.folder), "PTREE_SEARCH_PATHS": [str(found.folder)]}, i, where)
        for i, item in enumerate(_mappings(value, where))
    ]


def _mappings(items: list[Any], where: str) -> list[dict[str, Any]]:
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise PtreeError(f"entry {i + 1} is no mapping: {str(item)[:100]!r}", where=where)
    return items


def _checked(record: FileRecord, i: int, where: str) -> FileRecord:
    for key in ("FILE_NAME", "RENDERED_FILE_NAME"):
        if isinstance(record.get(key), int | float):
            record[key] = str(record[key])  # YAML takes `404` for a number
    try:
        if any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in node_id(record)):
            # In a list of files it could pass for another line, or for a terminal's command.
            raise PtreeError(f"RENDERED_FILE_NAME has a control character: {node_id(record)!r}")
        dependencies(record)
    except PeagenError as error:
        error.where = f"{where}, entry {i + 1}"
        raise
    return record


def slug(text: str) -> str:
    """The text as a file's name: small letters, digits and hyphens."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-") or "package"


def _keep(path: Path, text: str) -> None:
    # It is only there to be looked at: a run does not fail for it.
    with contextlib.suppress(OSError, UnicodeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
