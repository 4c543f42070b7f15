"""Designs of experiments: what a design makes of a template project, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from peagen.core.payload import load_projects_payload

TEMPLATE = {
    "schemaVersion": "1.0.0",
    "PROJECTS": [
        {
            "NAME": "Base",
            "ROOT": ".",
            "TEMPLATE_SET": "pythonpkg",
            "EXTRAS": {"TONE": "plain"},
            "PACKAGES": [{"NAME": "p", "MODULES": [{"NAME": "m", "EXTRAS": {"REQUIREMENTS": []}}]}],
        }
    ],
}
SECOND = """\
version: v2
meta: {name: trial, seed: 7, x-owner: ada}
factors:
  - name: tone
    levels:
      - {id: short, patchRef: short.yaml, output_path: p.yaml, patchKind: json-merge}
      - {id: long, patchRef: long.yaml, output_path: p.yaml, patchKind: yaml-overlay}
  - name: size
    levels:
      - {id: one, patchRef: one.yaml, output_path: p.yaml}
      - {id: two, patchRef: two.yaml, output_path: p.yaml, patchKind: json-patch}
"""
PATCHES = {
    "short.yaml": "EXTRAS: {TONE: null, STYLE: short}",
    "long.yaml": "EXTRAS: {TONE: long}",
    "one.yaml": "- {op: replace, path: /PACKAGES/0/NAME, value: one}",
    "two.yaml": "- {op: add, path: /PROJECTS/0/PACKAGES/-, value: {NAME: two, MODULES: []}}",
}
FIRST = """\
LLM_FACTORS:
  Model: {code: MOD, levels: [gpt-4, gpt-5]}
FACTORS:
  Component:
    code: CMP
    description: what it is
    levels:
      - {name: parser, requirements: [fast, small]}
      - {name: writer, requirements: []}
    patches:
      - {op: replace, path: /PROJECTS/0/NAME, value: "{{ BASE_NAME }}-{{ CMP.name }}-{{ EXP_ID }}"}
PATCHES:
  - when: {MOD: gpt-5}
    apply:
      - {op: add, path: /PROJECTS/0/EXTRAS/MODEL, value: "{{ MOD }}"}
  - apply:
      - op: replace
        path: /PROJECTS/0/PACKAGES/0/MODULES/0/EXTRAS/REQUIREMENTS
        value: {CMP.requirements: null}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "design"
    root.mkdir()
    (root / "spec.yml").write_text(SECOND)
    (root / "template.yaml").write_text(yaml.safe_dump(TEMPLATE, sort_keys=False))
    for name, text in PATCHES.items():
        (root / name).write_text(text)
    return root


def bundles(folder: Path, stem: str = "project_payloads") -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.glob(f"{stem}_*.yaml"))]


def test_each_point_is_a_payload_that_carries_its_factors(peagen: Any, folder: Path) -> None:
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    assert (done.code, done.err) == (0, "")
    names = [f"project_payloads_{number:03d}.yaml" for number in range(4)]
    assert done.out == f"✅ {', '.join(names)}\n"
    found = bundles(folder)
    assert [each["PROJECTS"][0]["META"]["factors"] for each in found] == [
        {"tone": "short", "size": "one"},
        {"tone": "short", "size": "two"},
        {"tone": "long", "size": "one"},
        {"tone": "long", "size": "two"},
    ]
    first, *_, last = [each["PROJECTS"][0]["PROJECTS"][0] for each in found]
    assert first["EXTRAS"] == {"STYLE": "short", "FACTORS": {"tone": "short", "size": "one"}}
    assert [each["NAME"] for each in first["PACKAGES"]] == ["one"]
    assert last["EXTRAS"] == {"TONE": "long", "FACTORS": {"tone": "long", "size": "two"}}
    assert [each["NAME"] for each in last["PACKAGES"]] == ["p", "two"]
    meta = found[3]["PROJECTS"][0]["META"]
    assert (meta["design_id"], meta["spec_name"], meta["LLM_FACTORS"]) == ("spec-003", "trial", {})
    assert found[0]["SOURCE"] == {
        "spec": "spec.yml",
        "template": "template.yaml",
        "spec_checksum": hashlib.sha256(SECOND.encode()).hexdigest(),
    }
    for name in names:
        (project,) = load_projects_payload(folder / name)
        assert project["META"]["design_id"] == f"spec-{name[-8:-5]}"
        assert peagen("validate", "projects_payload", folder / name).code == 0
        assert peagen("local", "sort", folder / name).code == 0


def test_the_same_design_makes_the_same_bytes(peagen: Any, folder: Path) -> None:
    peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    before = {path.name: path.read_bytes() for path in folder.glob("project_payloads_*")}
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", "--force", "--json", at=folder)
    assert {path.name: path.read_bytes() for path in folder.glob("project_payloads_*")} == before
    assert done.json == {
        "outputs": sorted(before),
        "artifact_outputs": [],
        "evaluations": [],
        "count": 4,
        "bytes": sum(map(len, before.values())),
        "llm_keys": [],
        "other_keys": ["tone", "size"],
        "dry_run": False,
    }


def test_nothing_is_written_in_a_dry_run_or_over_what_is_there(peagen: Any, folder: Path) -> None:
    before = sorted(folder.iterdir())
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", "--dry-run", "--output", "out/b.yml", at=folder)
    assert done.out.startswith("✅ would write out/b_000.yml, ")
    assert sorted(folder.iterdir()) == before
    (folder / "project_payloads_002.yaml").write_text("mine")
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    assert done.code == 1
    assert "project_payloads_002.yaml is there already" in done.err
    assert sorted(folder.iterdir()) == sorted([*before, folder / "project_payloads_002.yaml"])
    assert (folder / "project_payloads_002.yaml").read_text() == "mine"


def test_a_patch_that_does_not_fit_leaves_nothing_half_written(peagen: Any, folder: Path) -> None:
    (folder / "two.yaml").write_text("- {op: replace, path: /PACKAGES/7, value: 1}")
    before = sorted(folder.iterdir())
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    assert done.code == 1
    assert done.err == "[ERROR] two.yaml: operation 0: there is no /PACKAGES/7\n"
    (folder / "two.yaml").write_text("- {op: replace, path: /PACKAGES, value: 3}")
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    assert done.code == 1
    assert done.err.startswith("[ERROR] spec-001: the patches make no payload:")
    assert sorted(folder.iterdir()) == before


def test_an_artifact_is_patched_beside_the_payload(peagen: Any, folder: Path) -> None:
    (folder / "base.json").write_text(
        '{"EXTRAS": {"TONE": 1}, "PACKAGES": [{"NAME": "a"}], "PROJECTS": [{"PACKAGES": []}]}'
    )
    (folder / "spec.yml").write_text(SECOND + "baseArtifact: base.json\n")
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", "--json", at=folder)
    assert done.json["artifact_outputs"] == [f"base_{number:03d}.json" for number in range(4)]
    text = (folder / "base_001.json").read_text()
    assert yaml.safe_load(text)["EXTRAS"] == {"STYLE": "short"}
    project = bundles(folder)[1]["PROJECTS"][0]["PROJECTS"][0]
    assert project["PACKAGES"] == TEMPLATE["PROJECTS"][0]["PACKAGES"]  # type: ignore[index]
    assert project["EXTRAS"]["ARTIFACT"] == "base_001.json"
    assert project["EXTRAS"]["ARTIFACT_SHA256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_git_diff_changes_the_text_of_the_template(peagen: Any, folder: Path, git: Any) -> None:
    template = folder / "template.yaml"
    git(folder, "init")
    git(folder, "add", "template.yaml")
    template.write_text(template.read_text().replace("TONE: plain", "TONE: loud"))
    diff = git(folder, "diff")
    git(folder, "checkout", "template.yaml")
    (folder / "long.yaml").write_text(diff + "\n")
    (folder / "spec.yml").write_text(SECOND.replace("yaml-overlay", "git"))
    assert peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder).code == 0
    assert bundles(folder)[3]["PROJECTS"][0]["PROJECTS"][0]["EXTRAS"]["TONE"] == "loud"
    (folder / "long.yaml").write_text(diff.replace("-  ", "-  x") + "\n")
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", "--force", at=folder)
    assert done.code == 1
    assert "long.yaml: git apply failed" in done.err


def test_version_1(peagen: Any, folder: Path) -> None:
    (folder / "spec.yml").write_text(FIRST)
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", "--json", at=folder)
    assert (done.json["count"], done.json["llm_keys"], done.json["other_keys"]) == (4, ["Model"], ["Component"])
    groups = [each["PROJECTS"][0] for each in bundles(folder)]
    assert [group["PROJECTS"][0]["NAME"] for group in groups] == [
        "Base-parser-000",
        "Base-writer-001",
        "Base-parser-002",
        "Base-writer-003",
    ]
    assert [group["PROJECTS"][0]["EXTRAS"].get("MODEL") for group in groups] == [None, None, "gpt-5", "gpt-5"]
    module = groups[2]["PROJECTS"][0]["PACKAGES"][0]["MODULES"][0]
    assert module["EXTRAS"]["REQUIREMENTS"] == ["fast", "small"]
    assert groups[3]["META"]["LLM_FACTORS"] == {"Model": "gpt-5"}
    assert groups[3]["META"]["factors"] == {"Component": {"name": "writer", "requirements": []}}


def test_factors_of_version_1_that_choose_the_model_by_their_name(peagen: Any, folder: Path) -> None:
    (folder / "spec.yml").write_text("FACTORS: {size: {levels: [1]}, temperature: {code: T, levels: [0, 1]}}")
    peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    metas = [each["PROJECTS"][0]["META"] for each in bundles(folder)]
    assert [meta["LLM_FACTORS"] for meta in metas] == [{"temperature": 0}, {"temperature": 1}]
    assert metas[0]["factors"] == {"size": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("factors: []", "it has no version"),
        ("version: v3", "there is no version 'v3'"),
        ("- 1", "is a mapping"),
        ("version: v2\nmeta: {}\nfactors: []\n", "meta (line 2): name is missing"),
        (SECOND + "nonsense: 1\n", "nonsense is not known here"),
        (SECOND.replace("short.yaml", "gone.yaml"), "factors[0].levels[0].patchRef (line 6): there is no file"),
        (SECOND.replace("id: long", "id: short"), "2 have the id 'short'"),
        (SECOND.replace("name: size", "name: tone"), "2 have the name 'tone'"),
        (
            SECOND.replace("json-merge", "magic"),
            "must be one of git, json-patch, json-merge, yaml-overlay, not 'magic'",
        ),
        (SECOND + "baseArtifact: gone.py\n", "baseArtifact (line 12): there is no file"),
        (
            SECOND + "factorSets: [{name: s, uriTemplate: u, cartesianProduct: {tone: [loud]}}]\n",
            "there is no level loud of tone",
        ),
        ("FACTORS: {a: {code: X, levels: [1]}, b: {code: X, levels: [2]}}", "2 have the code 'X'"),
        ("FACTORS: {a: {levels: []}}", "FACTORS.a.levels (line 1): must not be empty"),
        (FIRST.replace("MOD: gpt-5", "MOO: gpt-5"), "there is no factor with this code"),
        ("FACTORS: " + "{" + ", ".join(f"f{n}: {{levels: [1, 2]}}" for n in range(20)) + "}", "makes 1048576 points"),
        ("FACTORS: [", "this is no YAML"),
    ],
)
def test_a_wrong_design_is_told_by_path_and_line(peagen: Any, folder: Path, text: str, says: str) -> None:
    (folder / "spec.yml").write_text(text)
    for command in (("local", "doe", "gen", "spec.yml", "template.yaml"), ("validate", "doe-spec", "spec.yml")):
        done = peagen(*command, at=folder)
        assert done.code == 1
        assert says in done.err
        assert "spec.yml" in done.err


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("PROJECTS: []", "no project"),
        ("3", "no project"),
        ("PROJECTS: [{ROOT: x}]", "NAME is missing"),
        (None, "template"),
    ],
)
def test_a_template_that_is_none(peagen: Any, folder: Path, template: str | None, says: str) -> None:
    if template is None:
        (folder / "template.yaml").unlink()
    else:
        (folder / "template.yaml").write_text(template)
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    assert done.code == 1
    assert says in done.err


@pytest.mark.parametrize(
    ("value", "says"), [("{{ 1 / 0 }}", "division"), ("{{ [", "point 0"), ({"CMP.gone": None}, "there is no CMP.gone")]
)
def test_a_value_of_version_1_that_cannot_be_made(peagen: Any, folder: Path, value: Any, says: str) -> None:
    spec = yaml.safe_load(FIRST)
    spec["PATCHES"][1]["apply"][0]["value"] = value
    (folder / "spec.yml").write_text(yaml.safe_dump(spec))
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    assert done.code == 1
    assert says in done.err


def test_what_is_not_used_is_told(peagen: Any, folder: Path) -> None:
    (folder / "spec.yml").write_text(SECOND.replace("id: one,", "id: one, replicates: 3,"))
    done = peagen("local", "doe", "gen", "spec.yml", "template.yaml", at=folder)
    assert (done.code, done.err) == (0, "[WARNING] spec.yml: factors[1].levels[0]: replicates is not used\n")
