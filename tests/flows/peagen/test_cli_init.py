"""`peagen init` and `validate`: what is written works, and nothing is overwritten."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_project_that_is_written_processes_and_its_tests_pass(peagen: Any, tmp_path: Path) -> None:
    folder = tmp_path / "My Greeter"
    done = peagen("init", "project", folder)
    assert (done.code, done.err) == (0, "")
    assert sorted(everything(folder)) == [".gitignore", ".peagen.toml", "README.md", "projects_payload.yaml"]
    assert peagen("validate", "config", at=folder).out.startswith("✅  ")
    assert peagen("validate", "projects_payload", "projects_payload.yaml", at=folder).code == 0
    done = peagen("local", "process", "projects_payload.yaml", "--json", at=folder)
    assert done.code == 0, done.err
    assert done.json["counts"] == {"created": 9}
    package = folder / "my_greeter"
    assert peagen("check", "projects_payload.yaml", at=folder).code == 0
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", package / "pyproject.toml", package],
        env={**os.environ, "PYTHONPATH": str(package / "src"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout


def test_a_project_for_another_model_and_set(peagen: Any, tmp_path: Path) -> None:
    options = ("--name", "N", "--template-set", "other", "--provider", "openai", "--model-name", "gpt-5")
    assert peagen("init", "project", "new", *options).code == 0
    assert 'default_model_name = "gpt-5"' in (tmp_path / "new" / ".peagen.toml").read_text()
    payload = yaml.safe_load((tmp_path / "new" / "projects_payload.yaml").read_text())
    assert (payload["PROJECTS"][0]["NAME"], payload["PROJECTS"][0]["TEMPLATE_SET"]) == ("N", "other")


@pytest.mark.parametrize("kind", ["project", "template-set", "doe-spec"])
def test_a_folder_that_is_not_empty_is_left_alone(peagen: Any, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    done = peagen("init", kind, folder)
    assert (done.code, done.out) == (1, "")
    assert "not empty" in done.err
    assert everything(folder) == {"README.md": b"mine"}
    assert peagen("init", kind, folder, "--force").code == 0
    assert everything(folder)["README.md"] != b"mine"


def test_a_new_repository_is_as_good_as_an_empty_folder(peagen: Any, tmp_path: Path, git: Any) -> None:
    git(tmp_path, "init", "new")
    assert peagen("init", "project", "new").code == 0


def test_a_template_set_that_is_written_works(peagen: Any, tmp_path: Path) -> None:
    assert peagen("init", "template-set", "mine").code == 0
    assert peagen("validate", "ptree", tmp_path / "mine" / "ptree.yaml.j2").code == 0
    assert peagen("validate", "ptree", tmp_path / "mine").code == 0
    done = peagen("local", "sort", tmp_path / "mine" / "example.payload.yaml")
    assert done.out.splitlines() == ["Project Example:", "  0) example/README.md", "  1) example/first.py"]
    done = peagen("local", "process", "mine/example.payload.yaml", "--provider", "scripted", "--json")
    assert done.code == 0, done.err
    assert (
        (tmp_path / "example" / "README.md").read_text().startswith("# example\n\n- `first`: A module to begin with.")
    )
    assert "A module to begin with." in (tmp_path / "example" / "first.py").read_text()


def test_a_design_that_is_written_expands_and_processes(peagen: Any, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    assert peagen("init", "doe-spec", folder, "--org", "acme").code == 0
    about = yaml.safe_load((folder / "spec.yaml").read_text())
    checksum = hashlib.sha256((folder / "doe_spec.yml").read_bytes()).hexdigest()
    assert about == {
        "name": "trial",
        "org": "acme",
        "version": "v1",
        "description": "A design of experiments.",
        "checksum": checksum,
    }
    assert peagen("validate", "doe-spec", "doe_spec.yml", at=folder).code == 0
    assert peagen("local", "doe", "gen", "doe_spec.yml", "template_project.yaml", at=folder).code == 0
    bundle = yaml.safe_load((folder / "project_payloads_003.yaml").read_text())["PROJECTS"][0]["PROJECTS"][0]
    assert bundle["EXTRAS"] == {
        "TONE": "Explain everything.",
        "AUTHOR": "Grace Hopper",
        "FACTORS": {"tone": "thorough", "author": "grace"},
    }
    done = peagen("local", "process", "project_payloads_000.yaml", "--provider", "scripted", "--json", at=folder)
    assert done.code == 0, done.err
    assert "Ada Lovelace" in (folder / "greeter" / "LICENSE").read_text()


def test_a_design_that_changed_has_another_checksum(peagen: Any, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    peagen("init", "doe-spec", folder)
    with (folder / "doe_spec.yml").open("a") as spec:
        spec.write("# changed\n")
    done = peagen("validate", "doe", "doe_spec.yml", at=folder)
    assert done.code == 1
    assert done.err.startswith("❌  spec.yaml: its checksum is not that of doe_spec.yml")
    assert peagen("validate", "doe-spec", "doe_spec.yml", "--update-checksum", at=folder).code == 0
    assert peagen("validate", "doe-spec", "doe_spec.yml", at=folder).code == 0


def test_every_point_of_a_design_is_processed_in_a_folder_of_its_own(peagen: Any, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    peagen("init", "doe-spec", folder)
    arguments = ("local", "doe", "process", "doe_spec.yml", "template_project.yaml", "--provider", "scripted")
    done = peagen(*arguments, "--workers", "2", at=folder)
    assert done.code == 0, done.err
    points = {f"doe_spec-{number:03d}" for number in range(4)}
    assert set(done.json["experiments"]) == points
    authors = [
        re.search(r"(Ada Lovelace|Grace Hopper)", (folder / "experiments" / point / "greeter" / "LICENSE").read_text())
        for point in sorted(points)
    ]
    assert [author[0] for author in authors if author] == ["Ada Lovelace", "Grace Hopper"] * 2
    done = peagen(*arguments, at=folder)
    assert {tuple(each["counts"]) for each in done.json["experiments"].values()} == {("unchanged",)}
    (folder / "project_payloads_002.yaml").write_text("mine")
    done = peagen(*arguments, at=folder)
    assert (done.code, done.err.splitlines()[0]) == (1, "[ERROR] project_payloads_002.yaml is there already")


def test_workflows(peagen: Any, tmp_path: Path) -> None:
    done = peagen("init", "ci", "--github", "--gitlab", "--payload", "p.yaml")
    assert (done.code, done.out) == (0, ".github/workflows/peagen.yml\n.gitlab-ci.yml\n")
    github = yaml.safe_load((tmp_path / ".github/workflows/peagen.yml").read_text())
    steps = github["jobs"]["check"]["steps"]
    assert steps[-1]["run"] == 'peagen check p.yaml --repo "$GITHUB_WORKSPACE"'
    assert "${{ runner.os }}" in steps[3]["with"]["key"]
    gitlab = yaml.safe_load((tmp_path / ".gitlab-ci.yml").read_text())
    assert gitlab["peagen-check"]["script"] == ['peagen check p.yaml --repo "$CI_PROJECT_DIR"']
    done = peagen("init", "ci")
    assert done.code == 1
    assert ".github/workflows/peagen.yml is there already" in done.err
    assert peagen("init", "ci", "--force").code == 0


def test_a_repository(peagen: Any, tmp_path: Path, git: Any) -> None:
    done = peagen("init", "repo", "new", "--origin", "https://example.com/x.git", "--json")
    assert done.json["created"]
    new = tmp_path / "new"
    assert git(new, "log", "--format=%an %s") == "Peagen peagen: first commit"
    assert git(new, "remote", "get-url", "origin") == "https://example.com/x.git"
    (new / ".gitignore").write_text("mine\n")
    done = peagen("init", "repo", "new", "--origin", "https://example.com/other.git", "--json")
    assert (done.json["created"], done.json["commit"]) == (False, None)
    assert (new / ".gitignore").read_text() == "mine\n.peagen/\n"
    assert git(new, "remote", "get-url", "origin") == "https://example.com/x.git"


def test_a_filter_keeps_what_gitattributes_says(peagen: Any, tmp_path: Path, git: Any) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init")
    (repository / ".gitattributes").write_text("*.png binary")
    (repository / ".peagen.toml").write_text("# mine\nworkers = 2\n")
    storage = tmp_path / "storage"
    done = peagen("init", "filter", "--uri", f"file://{storage}", "--name", "big", "--add-config", at=repository)
    assert (done.code, done.err) == (0, "")
    attributes = (repository / ".gitattributes").read_text()
    assert attributes == "*.png binary\nworkspace/** filter=big -text\nworkspace/artifacts/** -filter\n"
    peagen("init", "filter", "--uri", f"file://{storage}", "--name", "big", "--add-config", at=repository)
    assert (repository / ".gitattributes").read_text() == attributes
    config = (repository / ".peagen.toml").read_text()
    assert config.startswith("# mine\nworkers = 2\n")
    assert config.count("[storage.filters.big]") == 1
    assert peagen("validate", "config", at=repository).err == ""
    content = b"\x00\x01large" * 1000
    (repository / "workspace").mkdir()
    (repository / "workspace" / "data.bin").write_bytes(content)
    git(repository, "add", ".")
    git(repository, "commit", "-m", "data")
    pointer = git(repository, "cat-file", "-p", "HEAD:workspace/data.bin")
    assert pointer == f"sha256:{hashlib.sha256(content).hexdigest()}"
    (repository / "workspace" / "data.bin").unlink()
    git(repository, "checkout", "workspace/data.bin")
    assert (repository / "workspace" / "data.bin").read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["filter"], "it is no git repository"), (["filter", "--name", "a b"], "is no name of a filter")],
)
def test_filters_that_cannot_be(peagen: Any, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = peagen("init", *arguments)
    assert done.code == 1
    assert says in done.err


PTREE = """\
FILES:
  - {FILE_NAME: a.j2, RENDERED_FILE_NAME: a}
  - {FILE_NAME: b.j2, RENDERED_FILE_NAME: b, PROCESS_TYPE: generate, EXTRAS: {DEPENDENCIES: [a]}}
"""


@pytest.mark.parametrize(
    ("kind", "name", "text", "code", "says"),
    [
        ("ptree", "p.yaml", PTREE, 0, "b has no AGENT_PROMPT_TEMPLATE"),
        ("ptree", "p.yaml", "- {RENDERED_FILE_NAME: a}\n- {RENDERED_FILE_NAME: a}", 0, "a is made twice"),
        ("ptree", "p.yaml", "- {FILE_NAME: a}", 1, "entry 1: a file record has no RENDERED_FILE_NAME"),
        ("ptree", "p.yaml", "- 3", 1, "entry 1: it is no mapping"),
        ("ptree", "p.yaml", "- {RENDERED_FILE_NAME: a, PROCESS_TYPE: SCRIPT}", 1, "PROCESS_TYPE 'SCRIPT'"),
        ("ptree", "p.yaml", "FILES: 3", 1, "is a list of file records"),
        (
            "ptree",
            "ptree.yaml.j2",
            "FILES:\n  - {FILE_NAME: gone.j2, RENDERED_FILE_NAME: a}",
            1,
            "no template 'gone.j2'",
        ),
        ("ptree", "ptree.yaml.j2", "{{ nothing.at.all }}", 1, "undefined"),
        ("ptree", "gone.yaml", None, 1, "cannot be read"),
        ("config", "c.toml", "[llm\n", 1, "not TOML"),
        ("config", "c.toml", "[nobody]\n", 0, "c.toml:1: nobody reads nobody"),
        ("config", "gone.toml", None, 1, "there is no configuration"),
        ("projects_payload", "p.yaml", "PROJECTS: [{NAME: x}]", 0, "has no PACKAGES"),
        ("projects_payload", "p.yaml", "PROJECTS: [{}]", 1, "NAME is missing"),
        ("projects_payload", "gone.yaml", None, 1, "gone.yaml"),
        ("doe-spec", "gone.yaml", None, 1, "cannot be read"),
    ],
)
def test_validate(peagen: Any, tmp_path: Path, kind: str, name: str, text: str | None, code: int, says: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    if text is not None:
        (folder / name).write_text(text)
    done = peagen("validate", kind, name, at=folder)
    assert done.code == code, done.err
    assert says in done.err
    assert done.out == ("" if code else f"✅  {name} is valid\n")
    if code:
        assert done.err.startswith("❌  ")
