"""What `peagen validate` looks at. Each returns warnings, and raises for what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from peagen.core.documents import DocumentError, dump_yaml, parse_yaml, read_text
from peagen.core.lookup import PTREE, Lookup
from peagen.core.payload import load_projects_payload
from peagen.core.records import dependencies, node_id, process_type
from peagen.doe.spec import load_spec
from peagen.errors import PeagenError


def check_payload(path: Path) -> list[str]:
    """A payload.

    Raises:
        PayloadError: it is none.
    """
    projects = load_projects_payload(path)
    empty = [project for project in projects if not project.get("PACKAGES") and not project.get("FILES")]
    return [
        f"{path}: the project {project.get('NAME')} has no PACKAGES, so nothing is made for it" for project in empty
    ]


def check_doe_spec(path: Path, *, update_checksum: bool = False) -> list[str]:
    """A design of experiments, and its checksum in `spec.yaml` beside it.

    Raises:
        DoeSpecError: it is none.
        DocumentError: its checksum is another one.
    """
    spec = load_spec(path)
    warnings = [f"{path}: {warning}" for warning in spec.warnings]
    about = path.parent / "spec.yaml"
    if not about.is_file():
        return warnings
    document = parse_yaml(read_text(about), str(about))
    if not isinstance(document, dict):
        raise DocumentError("it is no mapping", where=str(about))
    if update_checksum:
        about.write_text(dump_yaml({**document, "checksum": spec.checksum}), encoding="utf-8")
    elif document.get("checksum") != spec.checksum:
        raise DocumentError(
            f"its checksum is not that of {path.name}",
            where=str(about),
            hint="raise its version and say --update-checksum; a version that is published never changes",
        )
    return warnings


def check_ptree(path: Path) -> list[str]:
    """The records of a rendered ptree, or of the ptree of a template set (rendered for its example payload).

    Raises:
        PtreeError, TemplateFailed, DocumentError: it is no list of file records.
    """
    if path.is_dir():
        path = path / PTREE
    if path.suffix == ".j2":
        records = _rendered(path)
    else:
        document = parse_yaml(read_text(path), str(path))
        found = document.get("FILES", document.get("ptree")) if isinstance(document, dict) else document
        if not isinstance(found, list):
            raise DocumentError("a ptree is a list of file records, or a mapping with FILES", where=str(path))
        records = found
    return check_records(records, path)


def check_records(records: list[Any], path: Path) -> list[str]:
    """Each record, and whether the templates that it names are there.

    Raises:
        DocumentError: with all that is wrong.
    """
    problems: list[str] = []
    warnings: list[str] = []
    seen: set[str] = set()
    for number, record in enumerate(records):
        place = f"entry {number + 1}"
        if not isinstance(record, dict):
            problems.append(f"{place}: it is no mapping")
            continue
        try:
            name = node_id(record)
            dependencies(record)
            kind = process_type(record)
        except PeagenError as error:
            problems.append(f"{place}: {error.message}")
            continue
        if name in seen:
            warnings.append(f"{path}: {name} is made twice; the last record counts")
        seen.add(name)
        if kind == "GENERATE" and not record.get("AGENT_PROMPT_TEMPLATE"):
            warnings.append(f"{path}: {name} has no AGENT_PROMPT_TEMPLATE; the default one is taken")
        if record.get("TEMPLATE_SET"):
            problems += _missing_templates(record, place)
    if problems:
        raise DocumentError("it cannot be used:", errors=problems, where=str(path))
    return warnings


def _missing_templates(record: dict[str, Any], place: str) -> list[str]:
    lookup = Lookup.of(record, Path(str(record["TEMPLATE_SET"])))
    problems = []
    try:
        lookup.template(record)
    except PeagenError as error:
        problems.append(f"{place}: {error.message}")
    prompt = record.get("AGENT_PROMPT_TEMPLATE")
    if prompt and lookup.prompt(str(prompt)) is None:
        problems.append(f"{place}: there is no prompt template {prompt!r}")
    return problems


def _rendered(path: Path) -> list[Any]:
    from peagen.core.lookup import TemplateSets
    from peagen.core.ptree import project_records
    from peagen.core.sandbox import Renderer

    read_text(path)
    folder = path.resolve().parent
    sample = next(
        (folder / name for name in ("example.payload.yaml", "example.payload.yml") if (folder / name).is_file()), None
    )
    if sample is not None:
        projects = load_projects_payload(sample)
    else:
        module = {"NAME": "module", "EXTRAS": {}}
        package = {"NAME": "package", "EXTRAS": {}, "MODULES": [module]}
        projects = [{"NAME": "Example", "ROOT": "root", "EXTRAS": {}, "PACKAGES": [package]}]

    async def render() -> list[Any]:
        records: list[Any] = []
        async with Renderer() as renderer:
            for project in projects:
                sets = TemplateSets([folder.parent])
                records += await project_records(project, sets, renderer, template_set=str(folder))
        return records

    return asyncio.run(render())
