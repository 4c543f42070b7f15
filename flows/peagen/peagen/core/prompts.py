"""The text of a file that is copied, and what a model is asked for one that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peagen.core.contexts import ProjectContext, as_file
from peagen.core.lookup import Lookup
from peagen.core.records import dependencies, node_id
from peagen.core.sandbox import Rendered, Renderer, RenderJob
from peagen.errors import TemplateFailed

SYSTEM_PROMPT = "You are a software developer."
DEFAULT_PROMPT = "agent_default.j2"
"""What a record that names no AGENT_PROMPT_TEMPLATE is asked with, if its set has it."""
BUILT_IN_PROMPT = Path(__file__).parent / DEFAULT_PROMPT


async def render_copy(
    project: Mapping[str, Any] | ProjectContext, record: Mapping[str, Any], lookup: Lookup, renderer: Renderer
) -> Rendered:
    """The record's template, rendered. Where it fails, the error's `where` begins with the file's name.

    Whoever renders many files of one project gives its `ProjectContext`.
    """
    return await _rendered(project, record, lookup, renderer, lookup.template(record), str(record["FILE_NAME"]))


async def render_prompt(
    project: Mapping[str, Any] | ProjectContext,
    record: Mapping[str, Any],
    lookup: Lookup,
    renderer: Renderer,
    *,
    prompt_file: Path | None = None,
    more: Mapping[str, Any] | None = None,
) -> Rendered:
    """The prompt for a record.

    Its template is `prompt_file`, else the record's AGENT_PROMPT_TEMPLATE, else the set's `agent_default.j2`,
    else one that comes with Peagen. `more` is what it sees beyond PROJ, PKG, MOD and FILE.
    """
    path = prompt_of(record, lookup, prompt_file)
    return await _rendered(project, record, lookup, renderer, path, path.name, more)


def prompt_of(record: Mapping[str, Any], lookup: Lookup, prompt_file: Path | None = None) -> Path:
    """The prompt template of a record, as `render_prompt` takes it; `TemplateFailed` if there is none."""
    if prompt_file is not None:
        if not prompt_file.is_file():
            raise TemplateFailed(f"there is no prompt template {str(prompt_file)!r}", where=node_id(record))
        return prompt_file.resolve()
    named = record.get("AGENT_PROMPT_TEMPLATE")
    if named:
        path = lookup.prompt(str(named))
        if path is None:
            raise TemplateFailed(
                f"there is no prompt template {named!r}",
                where=node_id(record),
                hint="AGENT_PROMPT_TEMPLATE names a file of the template set.",
            )
        return path
    return lookup.of_set(DEFAULT_PROMPT) or BUILT_IN_PROMPT


async def _rendered(
    project: Mapping[str, Any] | ProjectContext,
    record: Mapping[str, Any],
    lookup: Lookup,
    renderer: Renderer,
    path: Path,
    name: str,
    more: Mapping[str, Any] | None = None,
) -> Rendered:
    context = {**(more or {}), "FILE": as_file(record)}
    shared, parts = b"", {}
    if record.get("PROJECT_NAME"):
        known = project if isinstance(project, ProjectContext) else ProjectContext(project)
        shared, parts = known.packed, known.parts(record)
    job = RenderJob(
        name=name,
        context=context,
        shared=shared,
        parts=parts,
        template_path=path,
        search_path=lookup.set_folders,
        data_paths=lookup.data_paths,
        data_first=lookup.outputs.intersection(dependencies(record)),
    )
    try:
        return await renderer.render(job)
    except TemplateFailed as error:
        error.where = f"{node_id(record)}, {error.where}" if error.where else node_id(record)
        raise
