"""From a design and a template project to a payload for each point of it."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peagen.core.documents import dump_yaml, parse_yaml, read_text
from peagen.core.payload import load_projects_payload
from peagen.doe.legacy import apply_first
from peagen.doe.patches import PatchFailed, git_patch, json_patch, merge_patch, overlay
from peagen.doe.spec import LLM_NAMES, Level, Spec, load_spec
from peagen.errors import PeagenError

_NEW_NAME = re.compile(r"^\+\+\+ (?:b/)?([^\t\n]+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class DoeOptions:
    """How bundles are written."""

    output: Path = Path("project_payloads.yaml")
    """The bundles are called after it, with a number: `project_payloads_000.yaml`."""
    dry_run: bool = False
    force: bool = False
    skip_validate: bool = False
    again: bool = False
    """Bundles that are there already as they would be written are no obstacle."""


@dataclass(frozen=True)
class Bundle:
    """One point of a design."""

    number: int
    design_id: str
    path: Path
    document: dict[str, Any] = field(repr=False)
    artifact: tuple[Path, str] | None = None
    """A file that goes with it, and its text."""


async def generate_payload(spec_path: Path, template_path: Path, options: DoeOptions) -> dict[str, Any]:
    """Write a bundle for each point: all of them, or none.

    Returns:
        `outputs` and `artifact_outputs` (paths), `evaluations`, `count`, `bytes`, `llm_keys` and `other_keys` (the
        factors that choose the model, and the others), `dry_run`, `warnings`.

    Raises:
        DoeSpecError: the design is wrong.
        PeagenError: the template is wrong, a patch does not fit, a bundle would be no payload, a file is in the way.
    """
    spec = load_spec(spec_path)
    bundles = await expand(spec, template_path, options.output)
    if not options.skip_validate:
        for bundle in bundles:
            _check(bundle)
    files = {bundle.path: dump_yaml(bundle.document) for bundle in bundles}
    artifacts = dict(bundle.artifact for bundle in bundles if bundle.artifact is not None)
    if not options.dry_run:
        wanted = {**artifacts, **files}
        if options.again:
            wanted = {path: text for path, text in wanted.items() if not _holds(path, text)}
        write_together(wanted, force=options.force)
    return {
        "outputs": [str(path) for path in files],
        "artifact_outputs": [str(path) for path in artifacts],
        "evaluations": [],
        "count": len(bundles),
        "bytes": sum(len(text.encode()) for text in files.values()),
        "llm_keys": [factor.name for factor in spec.factors if factor.chooses_model],
        "other_keys": [factor.name for factor in spec.factors if not factor.chooses_model],
        "dry_run": options.dry_run,
        "warnings": spec.warnings,
    }


async def expand(spec: Spec, template_path: Path, output: Path) -> list[Bundle]:
    """The bundles of all points, in order: the first factor slowest, the last one fastest. Nothing is written."""
    text = read_text(template_path)
    template = _template(parse_yaml(text, str(template_path)), template_path)
    # The template is a payload itself: what is wrong with it is told with its own lines.
    load_projects_payload(template_path)
    points = list(itertools.product(*(factor.levels for factor in spec.factors)))
    if spec.version == "v1":
        documents = await apply_first(spec, template, points)
    else:
        documents = [_second(spec, template, text, template_path, levels) for levels in points]
    bundles = []
    for number, (levels, document) in enumerate(zip(points, documents, strict=True)):
        design_id = f"{spec.path.stem}-{number:03d}"
        artifact = None
        if spec.version == "v2" and spec.base_artifact is not None and not _is_template(spec, template_path):
            name = f"{spec.base_artifact.stem}_{number:03d}{spec.base_artifact.suffix}"
            artifact = (output.parent / name, _patched_artifact(spec.base_artifact, levels))
        projects = document["PROJECTS"]
        if spec.version == "v2":
            projects = [_marked(projects[0], spec, levels, artifact)]
        others = {key: value for key, value in document.items() if key not in {"PROJECTS", "SOURCE", "schemaVersion"}}
        bundles.append(
            Bundle(
                number,
                design_id,
                output.with_name(f"{output.stem}_{number:03d}{output.suffix}"),
                {
                    "schemaVersion": document.get("schemaVersion", "1.0.0"),
                    "PROJECTS": [{**others, "PROJECTS": projects, "META": _meta(spec, design_id, levels)}],
                    "SOURCE": {
                        "spec": spec.path.as_posix(),
                        "template": template_path.as_posix(),
                        "spec_checksum": spec.checksum,
                    },
                },
                artifact,
            )
        )
    return bundles


def agent_env_of(meta: Any) -> dict[str, Any]:
    """What a point's LLM_FACTORS say of the model, as `agent_env` says it."""
    factors = meta.get("LLM_FACTORS") if isinstance(meta, Mapping) else None
    if not isinstance(factors, Mapping):
        return {}
    # Nothing else: a payload that came from elsewhere must not say where the key is sent to.
    known = {str(key).lower(): value for key, value in factors.items() if str(key).lower() in LLM_NAMES}
    return {("model_name" if key == "model" else key): value for key, value in known.items()}


def write_together(files: Mapping[Path, str], *, force: bool) -> None:
    """Write all files or none: each is whole before the first one takes its place.

    Raises:
        PeagenError: one is there already, and `force` is not set.
    """
    taken = [str(path) for path in files if path.exists()]
    if taken and not force:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise PeagenError(f"{taken[0]}{more} is there already", hint="--force replaces what is there")
    written: list[tuple[Path, Path]] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            written.append((temporary, path))
            temporary.write_text(text, encoding="utf-8")
        for temporary, path in written:
            temporary.replace(path)
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _template(document: Any, path: Path) -> dict[str, Any]:
    if isinstance(document, list):
        document = {"PROJECTS": document}
    if not isinstance(document, dict) or not isinstance(document.get("PROJECTS"), list) or not document["PROJECTS"]:
        raise PeagenError("the template has no project", where=str(path), hint="it is a payload with one project")
    return document


def _second(
    spec: Spec, template: dict[str, Any], text: str, template_path: Path, levels: tuple[Level, ...]
) -> dict[str, Any]:
    document = copy.deepcopy(template)
    if spec.base_artifact is not None and not _is_template(spec, template_path):
        return document  # the patches are those of the artifact
    diffs = [level for level in levels if level.kind == "git"]
    if diffs:
        # A diff fits the text as a person wrote it, so it comes before what changes the document.
        for level in diffs:
            text = _apply_diff(text, level)
        document = _template(parse_yaml(text, f"{template_path}, patched"), template_path)
    for level in levels:
        if level.kind != "git":
            document = _apply(document, level)
    return document


def _apply(document: dict[str, Any], level: Level) -> dict[str, Any]:
    """A patch changes the first project; one that speaks of PROJECTS changes the whole document."""
    patch = _patch_of(level)
    operations = patch if isinstance(patch, list) else []
    whole = (isinstance(patch, dict) and "PROJECTS" in patch) or any(
        isinstance(each, dict) and str(each.get("path", "")).startswith("/PROJECTS") for each in operations
    )
    if whole:
        return _template(_patched(document, patch, level), level.patch or Path())
    first, *rest = document["PROJECTS"]
    return {**document, "PROJECTS": [_patched(first, patch, level), *rest]}


def _patched(target: Any, patch: Any, level: Level) -> Any:
    if level.kind == "json-merge":
        return merge_patch(target, patch)
    if level.kind == "yaml-overlay":
        return overlay(target, patch)
    return json_patch(target, patch, str(level.patch))


def _patch_of(level: Level) -> Any:
    assert level.patch is not None
    return parse_yaml(read_text(level.patch), str(level.patch))


def _apply_diff(text: str, level: Level) -> str:
    assert level.patch is not None
    named = _NEW_NAME.search(read_text(level.patch))
    return git_patch(named[1].strip() if named else level.output_path, text, level.patch)


def _patched_artifact(base: Path, levels: tuple[Level, ...]) -> str:
    text = read_text(base)
    for level in levels:
        if level.kind == "git":
            text = _apply_diff(text, level)
            continue
        document = _patched(parse_yaml(text, str(base)), _patch_of(level), level)
        as_json = base.suffix.lower() == ".json"
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n" if as_json else dump_yaml(document)
    return text


def _is_template(spec: Spec, template_path: Path) -> bool:
    return spec.base_artifact is not None and spec.base_artifact.resolve() == template_path.resolve()


def _marked(
    project: Mapping[str, Any], spec: Spec, levels: tuple[Level, ...], artifact: tuple[Path, str] | None
) -> dict[str, Any]:
    """The project, which says in its EXTRAS at which point it is: templates and prompts see it."""
    extras = dict(project.get("EXTRAS") or {})
    extras["FACTORS"] = dict(_chosen(spec, levels))
    if artifact is not None:
        extras["ARTIFACT"] = artifact[0].name
        extras["ARTIFACT_SHA256"] = hashlib.sha256(artifact[1].encode()).hexdigest()
    return {**project, "EXTRAS": extras}


def _chosen(spec: Spec, levels: tuple[Level, ...]) -> Iterator[tuple[str, Any]]:
    return ((factor.name, copy.deepcopy(level.value)) for factor, level in zip(spec.factors, levels, strict=True))


def _meta(spec: Spec, design_id: str, levels: tuple[Level, ...]) -> dict[str, Any]:
    from importlib.metadata import version

    chosen = dict(_chosen(spec, levels))
    models = {factor.name for factor in spec.factors if factor.chooses_model}
    # Version 2 lists every factor; version 1 keeps those of the model apart.
    others = {name: value for name, value in chosen.items() if spec.version == "v2" or name not in models}
    return {
        "design_id": design_id,
        "LLM_FACTORS": {name: value for name, value in chosen.items() if name in models},
        "factors": others,
        "spec_name": spec.name,
        "peagen_version": re.sub(r"\.?(dev|a|b|rc)(\d+)$", r"-\1.\2", version("penguiflow-peagen")),
    }


def _check(bundle: Bundle) -> None:
    try:
        load_projects_payload(bundle.document)
    except PeagenError as error:
        raise PatchFailed(f"the patches make no payload: {error.message}", where=bundle.design_id) from None
