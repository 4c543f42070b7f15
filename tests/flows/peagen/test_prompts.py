"""From a project to its records, the texts of its files and its prompts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peagen.core.contexts import file_context, package_context
from peagen.core.lookup import Lookup, TemplateSets
from peagen.core.prompts import render_copy, render_prompt
from peagen.core.ptree import project_records, slug
from peagen.core.records import process_type
from peagen.core.sandbox import Renderer
from peagen.errors import PtreeError, TemplateFailed, TemplateSetNotFound, TemplateUnsafe

if TYPE_CHECKING:
    from tests.flows.peagen.conftest import MakeProject, MakeSet, WriteFiles

PTREE = """\
{%- for pkg in PROJ.PKGS %}
{%- for mod in pkg.MODULES %}
- FILE_NAME: "{% raw %}{{ PROJ.ROOT }}/{{ MOD.NAME }}.py.j2{% endraw %}"
  RENDERED_FILE_NAME: "{{ PROJ.ROOT }}/{{ mod.NAME | lower }}.py"
  PROJECT_NAME: "{{ PROJ.NAME }}"
  PACKAGE_NAME: "{{ pkg.NAME }}"
  MODULE_NAME: "{{ mod.NAME }}"
  PROCESS_TYPE: generate
  AGENT_PROMPT_TEMPLATE: "ask.j2"
  EXTRAS:
    PURPOSE: "{{ mod.EXTRAS.PURPOSE | default('none') }}"
    DEPENDENCIES: [docs/notes.md]
{%- endfor %}
{%- endfor %}
"""
SMALL = {
    "ptree.yaml.j2": PTREE,
    "{{ PROJ.ROOT }}/{{ MOD.NAME }}.py.j2": "class {{ MOD.NAME }}: ...\n",
    "ask.j2": "{{ FILE.EXTRAS.PURPOSE }}|{% include FILE.FILE_NAME %}|{% include FILE.EXTRAS.DEPENDENCIES[0] %}\n",
}


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    async with Renderer(size=1) as made:
        yield made


async def test_records_come_from_the_ptree(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, renderer: Renderer, tmp_path: Path
) -> None:
    folder = make_set("small", SMALL)
    records = await project_records(
        make_project("A", "B"), TemplateSets([worktree_root]), renderer, keep_in=tmp_path / "kept"
    )
    assert [record["RENDERED_FILE_NAME"] for record in records] == ["out/a.py", "out/b.py"]
    assert records[0] == {
        "FILE_NAME": "{{ PROJ.ROOT }}/{{ MOD.NAME }}.py.j2",
        "RENDERED_FILE_NAME": "out/a.py",
        "PROJECT_NAME": "Demo",
        "PACKAGE_NAME": "demo",
        "MODULE_NAME": "A",
        "PROCESS_TYPE": "generate",
        "AGENT_PROMPT_TEMPLATE": "ask.j2",
        "EXTRAS": {"PURPOSE": "none", "DEPENDENCIES": ["docs/notes.md"]},
        "TEMPLATE_SET": str(folder),
        "PTREE_SEARCH_PATHS": [str(folder)],
    }
    kept = tmp_path / "kept" / "demo_ptree.yaml"
    assert "RENDERED_FILE_NAME" in kept.read_text()


async def test_copies_and_prompts(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, write_files: WriteFiles, renderer: Renderer
) -> None:
    make_set("small", SMALL)
    write_files(worktree_root, {"docs/notes.md": "{{ 7 * 7 }} {% oops %}\n"})
    project = make_project("A")
    [record] = await project_records(project, TemplateSets([worktree_root]), renderer)
    lookup = Lookup.of(record, worktree_root)
    assert (await render_copy(project, record, lookup, renderer)).text == "class A: ..."
    prompt = await render_prompt(project, record, lookup, renderer)
    assert prompt.text == "none|class A: ...|{{ 7 * 7 }} {% oops %}"
    assert [Path(path).name for path in prompt.used_templates] == ["ask.j2", "{{ MOD.NAME }}.py.j2"]
    assert [Path(path).name for path in prompt.used_data] == ["notes.md"]
    own = write_files(worktree_root.parent, {"own.j2": "{{ INJ }} {{ MOD.NAME }}"}) / "own.j2"
    told = await render_prompt(project, record, lookup, renderer, prompt_file=own, more={"INJ": "note"})
    assert told.text == "note A"


async def test_a_dependency_that_is_missing_is_told(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, renderer: Renderer
) -> None:
    make_set("small", SMALL)
    project = make_project("A")
    [record] = await project_records(project, TemplateSets([worktree_root]), renderer)
    with pytest.raises(TemplateFailed, match=r"'docs/notes\.md' is neither") as raised:
        await render_prompt(project, record, Lookup.of(record, worktree_root), renderer)
    assert raised.value.where == "out/a.py, ask.j2:1"
    for wrong in ({"AGENT_PROMPT_TEMPLATE": "gone.j2"}, {}):
        with pytest.raises(TemplateFailed, match="no prompt template"):
            await render_prompt(
                project,
                record | wrong,
                Lookup.of(record, worktree_root),
                renderer,
                prompt_file=None if wrong else worktree_root / "gone",
            )


async def test_who_names_no_prompt_is_asked_with_the_default(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, write_files: WriteFiles, renderer: Renderer
) -> None:
    folder = make_set("small", SMALL)
    write_files(worktree_root, {"docs/notes.md": "notes\n", "other/agent_default.j2": "of another set"})
    project = make_project("A")
    [record] = await project_records(project, TemplateSets([worktree_root]), renderer)
    record |= {"AGENT_PROMPT_TEMPLATE": None}
    record["EXTRAS"] |= {"REQUIREMENTS": ["Be small."], "DESCRIPTION": "What", "EXAMPLES": ["ask.j2"]}
    lookup = Lookup.of(record, worktree_root)
    with pytest.raises(TemplateFailed, match="'gone' is neither"):
        await render_prompt(project, record | {"EXTRAS": {"EXAMPLES": ["gone"]}}, lookup, renderer)
    text = (await render_prompt(project, record, lookup, renderer)).text
    for part in ("`out/a.py`", "project Demo", "- Be small.", "class A: ...", "# Dependency: docs/notes.md", "notes"):
        assert part in text
    (folder / "agent_default.j2").write_text("of the set")
    assert (await render_prompt(project, record, lookup, renderer)).text == "of the set"


async def test_dependencies_may_be_named_as_the_file_would(
    worktree_root: Path, make_set: MakeSet, write_files: WriteFiles, renderer: Renderer
) -> None:
    folder = make_set("small", {"x.j2": "shape"})
    write_files(worktree_root, {"src/parts/near.js": "near", "src/up.js": "up", "src/parts/.env": "the secret"})
    record: dict[str, Any] = {
        "FILE_NAME": "x.j2",
        "RENDERED_FILE_NAME": "src/parts/x.js",
        "TEMPLATE_SET": str(folder),
        "EXTRAS": {"DEPENDENCIES": ["./near.js", "../up.js", "./gone.js", "elsewhere.js"]},
    }
    lookup = Lookup.of(record, worktree_root)
    text = (await render_prompt({}, record, lookup, renderer)).text
    assert "# Dependency: ./near.js\n```\nnear\n```\n\n# Dependency: ../up.js\n```\nup\n```\n" in text
    assert "# Dependency: ./gone.js\n\n# Dependency: elsewhere.js\n\nAnswer" in text
    for name in ("../../../outside", "./.env"):
        record["EXTRAS"] = {"DEPENDENCIES": [name]}
        with pytest.raises(TemplateUnsafe):
            await render_prompt({}, record, lookup, renderer)


async def test_sets_are_chosen_per_package(
    worktree_root: Path,
    make_set: MakeSet,
    make_project: MakeProject,
    renderer: Renderer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("small", "other", "over", "default"):
        make_set(name, {"ptree.yaml.j2": f"FILES:\n- {{FILE_NAME: x, RENDERED_FILE_NAME: {name}}}"})
    make_set("bare", {"README.md": ""})
    sets = TemplateSets([worktree_root])
    project = make_project(
        PACKAGES=[
            {"NAME": "a"},
            {"NAME": "b", "TEMPLATE_SET": "other"},
            {"NAME": "c", "TEMPLATE_SET": "other", "TEMPLATE_SET_OVERRIDE": "over"},
            {"NAME": "d", "TEMPLATE_SET": "bare"},
        ]
    )
    with caplog.at_level(logging.WARNING, "peagen"):
        names = [record["RENDERED_FILE_NAME"] for record in await project_records(project, sets, renderer)]
    assert names == ["small", "other", "over"]
    assert "has no ptree" in caplog.text
    chosen = await project_records(project, sets, renderer, template_set="default")
    assert [record["RENDERED_FILE_NAME"] for record in chosen] == ["default"] * 4
    del project["TEMPLATE_SET"]
    assert (await project_records(project, sets, renderer))[0]["RENDERED_FILE_NAME"] == "default"
    with pytest.raises(TemplateSetNotFound, match="'nowhere'"):
        await project_records(project, sets, renderer, template_set="nowhere")


@pytest.mark.parametrize(
    ("ptree", "told"),
    [
        ("- just text", "entry 1 is no mapping"),
        ("- {FILE_NAME: a}", "no RENDERED_FILE_NAME"),
        ("- {FILE_NAME: a, RENDERED_FILE_NAME: ''}", "no RENDERED_FILE_NAME"),
        ("- {FILE_NAME: a, RENDERED_FILE_NAME: b, EXTRAS: {DEPENDENCIES: c}}", "must be a list"),
        ('- {FILE_NAME: a, RENDERED_FILE_NAME: "b\\nc"}', "control character"),
        ('- {FILE_NAME: a, RENDERED_FILE_NAME: "\\e[2Jb"}', "control character"),
        ("a: [", "no YAML"),
        ("{{ PROJ.X.Y }}", "has no attribute 'X'"),
        ("{{ ''.__class__ }}", "not for templates"),
    ],
)
async def test_ptrees_that_are_none(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, renderer: Renderer, ptree: str, told: str
) -> None:
    make_set("small", {"ptree.yaml.j2": ptree})
    with pytest.raises((PtreeError, TemplateFailed), match=told) as raised:
        await project_records(make_project("A"), TemplateSets([worktree_root]), renderer)
    assert "the ptree of 'small' for the package 'demo'" in raised.value.where


@pytest.mark.parametrize("ptree", ["", "just text", "A: 1", "[]", "FILES:"])
async def test_ptrees_without_files(
    worktree_root: Path, make_set: MakeSet, make_project: MakeProject, renderer: Renderer, ptree: str
) -> None:
    make_set("small", {"ptree.yaml.j2": ptree})
    assert await project_records(make_project("A"), TemplateSets([worktree_root]), renderer) == []


async def test_files_that_a_project_lists_itself(renderer: Renderer) -> None:
    project = {"NAME": "x", "FILES": [{"FILE_NAME": "a", "RENDERED_FILE_NAME": 404}]}
    [record] = await project_records(project, TemplateSets(), renderer)
    assert record["RENDERED_FILE_NAME"] == "404"


def test_contexts(make_project: MakeProject) -> None:
    project: dict[str, Any] = make_project("A", EXTRAS=None)
    project["PACKAGES"].append({"NAME": 2, "MODULES": [{"NAME": "C"}]})
    shown = package_context(project, project["PACKAGES"][1])["PROJ"]
    assert shown["EXTRAS"] == {}
    assert shown["PKGS"] == [{"NAME": 2, "MODULES": [{"NAME": "C", "EXTRAS": {}}], "EXTRAS": {}}]
    record = {"PROJECT_NAME": "whatever", "PACKAGE_NAME": "2", "MODULE_NAME": "C"}
    context = file_context(project, record)
    assert context["FILE"] == record | {"EXTRAS": {}}
    assert context["PROJ"]["NAME"] == "Demo"
    assert "PKGS" not in context["PROJ"]
    assert context["PKG"]["NAME"] == 2
    assert context["MOD"] == {"NAME": "C", "EXTRAS": {}}
    assert "MOD" not in file_context(project, record | {"MODULE_NAME": None})
    assert "PKG" not in file_context(project, record | {"PACKAGE_NAME": "gone"})
    assert set(file_context(project, {"PACKAGE_NAME": "2"})) == {"FILE"}


async def test_a_prompt_goes_over_dependencies_that_are_null(
    make_set: MakeSet, make_project: MakeProject, worktree_root: Path, renderer: Renderer
) -> None:
    ptree = """\
        {% for MOD in PROJ.PKGS[0].MODULES %}
        - FILE_NAME: a.j2
          RENDERED_FILE_NAME: {{ MOD.NAME }}.py
          PROCESS_TYPE: GENERATE
          EXTRAS:
            DEPENDENCIES:
              {% for each in MOD.EXTRAS.DEPENDENCIES %}
              - {{ each }}
              {% endfor %}
        {% endfor %}
        """
    prompt = "{% for each in FILE.EXTRAS.DEPENDENCIES %}{{ each }}{% endfor %} is all"
    make_set("small", {"ptree.yaml.j2": ptree, "a.j2": "", "agent_default.j2": prompt})
    project, sets = make_project("A"), TemplateSets([worktree_root])
    [record] = await project_records(project, sets, renderer)
    assert record["EXTRAS"] == {"DEPENDENCIES": None}
    lookup = Lookup((worktree_root / "small",), worktree_root)
    rendered = await render_prompt(project, record, lookup, renderer)
    assert rendered.text == " is all"


def test_process_types() -> None:
    assert process_type({}) == process_type({"PROCESS_TYPE": " copy "}) == "COPY"
    assert process_type({"PROCESS_TYPE": "Generate"}) == "GENERATE"
    with pytest.raises(PtreeError, match="'SCRIPT' is not known"):
        process_type({"PROCESS_TYPE": "SCRIPT"})


def test_slugs() -> None:
    assert slug("base/Swarmauri_Basé") == "base-swarmauri-base"
    assert slug("../..") == "package"
