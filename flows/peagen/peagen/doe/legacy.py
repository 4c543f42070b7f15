"""Version 1: patches whose values are templates over the factors' codes, applied to the whole document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peagen.core.documents import parse_yaml
from peagen.core.sandbox import Renderer, RenderJob
from peagen.doe.patches import PatchTargetMissingError, json_patch
from peagen.doe.spec import Level, Spec


async def apply_first(
    spec: Spec, template: dict[str, Any], points: Sequence[tuple[Level, ...]]
) -> list[dict[str, Any]]:
    """The document of each point.

    Raises:
        PatchTargetMissingError: a patch's path, or a name in its value, leads nowhere.
        PeagenError: a value cannot be rendered, or the document is none any more.
    """
    documents = []
    base_name = str(template["PROJECTS"][0].get("NAME", ""))
    async with Renderer() as renderer:
        for number, levels in enumerate(points):
            context = {factor.code: level.value for factor, level in zip(spec.factors, levels, strict=True)}
            values = {**context, "EXP_ID": f"{number:03d}", "BASE_NAME": base_name}
            where = f"{spec.path}, point {number}"
            operations = [
                {key: await _rendered(value, values, renderer, where) for key, value in operation.items()}
                for operation in _operations(spec, context)
            ]
            document = json_patch(template, operations, where)
            if not isinstance(document, dict) or not isinstance(document.get("PROJECTS"), list):
                raise PatchTargetMissingError("the patches leave no PROJECTS", where=where)
            documents.append(document)
    return documents


def _operations(spec: Spec, context: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of the factors, in order, and then those of PATCHES; where they apply."""
    found: list[Mapping[str, Any]] = []
    for entry in [*(patch for factor in spec.factors for patch in factor.patches), *spec.rules]:
        if "apply" not in entry:
            found.append(entry)
        elif all(context.get(str(code)) == value for code, value in (entry.get("when") or {}).items()):
            found += entry["apply"]
    return found


async def _rendered(value: Any, values: Mapping[str, Any], renderer: Renderer, where: str) -> Any:
    """A text is rendered and read as YAML; `{CMP.requirements: null}` is what `CMP.requirements` leads to."""
    if isinstance(value, list):
        return [await _rendered(each, values, renderer, where) for each in value]
    if isinstance(value, dict):
        if len(value) == 1 and (name := str(next(iter(value)))) and next(iter(value.values())) is None:
            first = name.partition(".")[0]
            if first in values:
                return _looked_up(name, values, where)
        return {key: await _rendered(each, values, renderer, where) for key, each in value.items()}
    if not isinstance(value, str) or not ("{{" in value or "{%" in value):
        return value
    job = RenderJob(name=where, context=dict(values), template_text=value)
    text = (await renderer.render(job)).text
    return parse_yaml(text, where)


def _looked_up(name: str, values: Mapping[str, Any], where: str) -> Any:
    found: Any = values
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise PatchTargetMissingError(f"there is no {name}", where=where)
        found = found[part]
    return found
