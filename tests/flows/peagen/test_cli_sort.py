"""`peagen local sort`: its lines to the letter, and where options may stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from peagen.handlers.sort_handler import sort_handler

PTREE = """
FILES:
{%- for PKG in PROJ.PKGS %}
{%- for MOD in PKG.MODULES %}
  - FILE_NAME: "file.j2"
    RENDERED_FILE_NAME: "{{ PKG.NAME }}/{{ MOD.NAME | lower }}"
    PROCESS_TYPE: COPY
    EXTRAS: {DEPENDENCIES: {{ MOD.EXTRAS.NEEDS | default([]) | tojson }}}
{%- endfor %}
{%- endfor %}
"""


def project(name: str, **modules: list[str]) -> dict[str, Any]:
    listed = [{"NAME": module, "EXTRAS": {"NEEDS": needs}} for module, needs in modules.items()]
    return {"NAME": name, "ROOT": ".", "TEMPLATE_SET": "tiny", "PACKAGES": [{"NAME": "p", "MODULES": listed}]}


GOOD = project("Good", a=["p/c"], b=[], c=["p/d", "elsewhere.md", "p/b"], d=[])
BAD = project("Bad", x=["p/y"], y=["p/x"])


@pytest.fixture
def tree(worktree_root: Path, make_set: Any) -> Path:
    make_set("tiny", {"ptree.yaml.j2": PTREE, "file.j2": ""})
    return worktree_root


def write(folder: Path, *projects: dict[str, Any], name: str = "projects.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump({"PROJECTS": list(projects)}))
    return path


def test_one_project(peagen: Any, tree: Path) -> None:
    write(tree, GOOD)
    done = peagen("local", "sort", "projects.yaml", "--project-name", "Good", at=tree)
    assert (done.code, done.err) == (0, "")
    assert done.out == "0) p/b\n1) p/d\n2) p/c\n3) p/a\n"


def test_what_each_file_depends_on(peagen: Any, tree: Path) -> None:
    write(tree, GOOD)
    done = peagen("local", "sort", "projects.yaml", "--project-name", "Good", "--show-dependencies", at=tree)
    assert done.out.splitlines() == [
        "0) p/b   (deps: None)",
        "1) p/d   (deps: None)",
        "2) p/c   (deps: p/d, p/b)",
        "3) p/a   (deps: p/c)",
    ]


def test_all_projects_and_one_that_fails(peagen: Any, tree: Path) -> None:
    write(tree, BAD, GOOD)
    done = peagen("local", "sort", "projects.yaml", at=tree)
    assert done.code == 1
    assert done.out.splitlines() == ["Project Good:", "  0) p/b", "  1) p/d", "  2) p/c", "  3) p/a"]
    assert "[ERROR] Bad: Dependency sort failed: Cyclic dependencies detected among file entries: p/x, p/y" in done.err


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (["--start-idx", "2"], ["2) p/c", "3) p/a"]),
        (["--start-idx", "-3"], ["0) p/b", "1) p/d", "2) p/c", "3) p/a"]),
        (["--start-file", "p/c"], ["0) p/c", "1) p/a"]),
        (["--start-file", "unknown"], ["0) p/b", "1) p/d", "2) p/c", "3) p/a"]),
        (["--start-file", "p/c", "--transitive"], ["0) p/b", "1) p/d", "2) p/c"]),
        (["--start-file", "p/c", "--transitive", "--start-idx", "1"], ["1) p/d", "2) p/c"]),
        (["--start-idx", "9"], []),
    ],
)
def test_where_it_begins(peagen: Any, tree: Path, options: list[str], lines: list[str]) -> None:
    write(tree, GOOD)
    done = peagen("local", "sort", "projects.yaml", "--project-name", "Good", *options, at=tree)
    assert (done.code, done.out.splitlines()) == (0, lines)


def test_json(peagen: Any, tree: Path) -> None:
    write(tree, BAD, GOOD)
    done = peagen("local", "sort", "projects.yaml", "--json", "--start-idx", "3", at=tree)
    bad, good = done.json["projects"]
    assert "Cyclic" in bad["error"]
    assert good == {"name": "Good", "files": [{"index": 3, "file": "p/a", "dependencies": ["p/c"]}], "next_idx": 4}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-v", "local", "sort", "projects.yaml"],
        ["local", "-v", "sort", "projects.yaml"],
        ["local", "-vv", "-q", "sort", "projects.yaml"],
        ["local", "sort", "-vv", "projects.yaml"],
        ["local", "sort", "projects.yaml", "-v"],
        ["local", "sort", "projects.yaml", "--repo", ".", "-c", "."],
        ["local", "-c", ".", "sort", "projects.yaml"],
    ],
)
def test_options_in_any_place(peagen: Any, tree: Path, arguments: list[str]) -> None:
    write(tree, GOOD)
    (tree / ".peagen.toml").write_text("")
    done = peagen(*arguments, at=tree)
    assert (done.code, done.out.splitlines()[0]) == (0, "Project Good:")


async def test_a_task(tree: Path, own_home: Path) -> None:
    path = write(tree, GOOD)
    args = {"projects_payload": path, "worktree": str(tree), "start_idx": 2, "project_name": "Good"}
    (good,) = (await sort_handler({"args": args}))["projects"]
    assert [(each["index"], each["file"]) for each in good["files"]] == [(2, "p/c"), (3, "p/a")]


def test_a_payload_of_the_repository_and_one_as_text(peagen: Any, tree: Path, tmp_path: Path) -> None:
    write(tree, GOOD)
    assert peagen("local", "sort", "projects.yaml", "--repo", tree, at=tmp_path).code == 0
    text = yaml.safe_dump({"PROJECTS": [GOOD]})
    assert peagen("local", "sort", text, "--repo", tree, at=tmp_path).out.splitlines()[1] == "  0) p/b"


def test_the_set_of_the_configuration_is_taken_where_none_is_named(peagen: Any, tree: Path) -> None:
    write(tree, {key: value for key, value in GOOD.items() if key != "TEMPLATE_SET"})
    (tree / ".peagen.toml").write_text('[workspace]\ntemplate_set = "tiny"\nnobody = 1\n')
    done = peagen("local", "sort", "projects.yaml", at=tree)
    assert done.out.splitlines()[1] == "  0) p/b"
    assert done.err == f"[WARNING] {tree / '.peagen.toml'}:3: nobody reads workspace.nobody\n"
    assert peagen("local", "sort", "projects.yaml", "-q", at=tree).err == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("PROJECTS: [", "projects.yaml:"),
        ("PROJECTS: {}", "PROJECTS"),
        ("- 3", "must be a mapping"),
        ("PROJECTS:\n  - NAME: A\n    TEMPLATE_SET: gone\n    PACKAGES: [{NAME: p}]", "Template-set 'gone' not found"),
        ("PROJECTS:\n  - ROOT: .\n", "line 2"),
    ],
)
def test_what_cannot_be_sorted_gets_one_message(peagen: Any, tree: Path, text: str, says: str) -> None:
    (tree / "projects.yaml").write_text(text)
    done = peagen("local", "sort", "projects.yaml", at=tree)
    assert done.code == 1
    assert says in done.err
    assert done.err.startswith("[ERROR] ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["local", "sort"], 2, "PROJECTS_YAML"),
        (["local", "sort", "gone.yaml"], 1, "there is no file 'gone.yaml'"),
        (["local", "sort", "."], 1, "is a folder"),
        (["local", "sort", ""], 1, "there is no file ''"),
        (["local", "sort", "[1]"], 1, "must be a mapping"),
        (["local", "sort", "projects.yaml", "--project-name", "Gone"], 1, "There are: Good"),
        (["local", "sort", "projects.yaml", "--start-file", "gone", "--transitive"], 1, "'gone' not found in payload"),
        (["local", "sort", "projects.yaml", "--repo", "gone"], 1, "there is no folder"),
        (["local", "sort", "projects.yaml", "--ref", "gone"], 1, "it is no git repository"),
        (["local", "sort", "projects.yaml", "--start-idx", "x"], 2, "--start-idx"),
        (["local", "sort", "projects.yaml", "--no-such"], 2, "No such option"),
        (["local", "sort", "projects.yaml", "-c", "gone.toml"], 1, "no configuration at gone.toml"),
        (["local", "srot"], 2, "No such command"),
        (["nonsense"], 2, "No such command"),
        (["remote", "process", "projects.yaml", "--gateway-url", "http://x", "--pool", "p"], 2, "not in this version"),
        (["remote"], 2, "not in this version"),
        (["tui", "--gateway-url", "x"], 2, "not in this version"),
        (["local", "db", "upgrade"], 2, "not in this version"),
    ],
)
def test_what_is_refused(peagen: Any, tree: Path, arguments: list[str], code: int, says: str) -> None:
    write(tree, GOOD)
    done = peagen(*arguments, at=tree)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert len(done.err.splitlines()) <= 3, done.err


@pytest.mark.parametrize("group", [[], ["local"], ["init"], ["validate"], ["local", "doe"], ["local", "template-set"]])
def test_a_group_alone_shows_its_help(peagen: Any, tree: Path, group: list[str]) -> None:
    for arguments in (group, [*group, "--help"]):
        done = peagen(*arguments, at=tree)
        assert (done.code, done.err) == (0, "")
        assert "Commands:" in done.out
