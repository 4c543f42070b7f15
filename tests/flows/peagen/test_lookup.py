"""Where template sets and templates are found."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peagen.core.lookup import Lookup, TemplateSets
from peagen.errors import TemplateFailed, TemplateSetNotFound, TemplateUnsafe

if TYPE_CHECKING:
    from tests.flows.peagen.conftest import MakeSet, WriteFiles


def installed(folder: Path, package: str, write_files: WriteFiles, entry: str) -> Path:
    """What an installed distribution looks like, whose modules fail when they are imported."""
    return write_files(
        folder,
        {
            f"{package}/__init__.py": "raise RuntimeError('imported')",
            f"{package}/sets/__init__.py": "raise RuntimeError('imported')",
            f"{package}/sets/mine/ptree.yaml.j2": "[]",
            f"{package}/sets/mine/__init__.py": "",
            f"{package}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
            f"{package}-1.0.dist-info/entry_points.txt": f"[peagen.template_sets]\n{entry}\n",
        },
    )


def test_sets_are_found_in_folders_of_the_root(worktree_root: Path, make_set: MakeSet) -> None:
    make_set("small", {"ptree.yaml.j2": "[]", "a/b.j2": "", "__pycache__/x.pyc": "", ".github/ci.yml": ""})
    make_set("no_set", {"README.md": ""})
    sets = TemplateSets([worktree_root])
    found = sets.find("small")
    assert (found.source, found.folder) == ("folder", worktree_root / "small")
    assert found.files == (".github/ci.yml", "a/b.j2", "ptree.yaml.j2")
    assert "small" in sets.all()
    assert "no_set" not in sets.all()
    assert sets.find("no_set").folder.name == "no_set"
    assert sets.find(str(worktree_root / "small")).files == found.files


def test_a_set_s_digest_is_that_of_names_and_content(worktree_root: Path, make_set: MakeSet) -> None:
    sets = TemplateSets([worktree_root])
    folder = make_set("small", {"ptree.yaml.j2": "[]", "a": "x"})
    first = sets.find("small").digest
    assert sets.find("small").digest == first
    (folder / "a").rename(folder / "b")
    second = sets.find("small").digest
    (folder / "b").write_text("y")
    assert len({first, second, sets.find("small").digest}) == 3


def test_pipes_and_devices_are_no_files_of_a_set(worktree_root: Path, make_set: MakeSet) -> None:
    folder = make_set("small", {"ptree.yaml.j2": "[]"})
    os.mkfifo(folder / "pipe")
    (folder / "endless").symlink_to("/dev/zero")
    (folder / "gone").symlink_to("nowhere")
    found = TemplateSets([worktree_root]).find("small")
    assert found.files == ("ptree.yaml.j2",)
    assert found.digest


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800", "/dev/zero"])
def test_names_that_no_file_has(worktree_root: Path, make_set: MakeSet, name: str) -> None:
    record = {"FILE_NAME": name, "RENDERED_FILE_NAME": "x.py", "TEMPLATE_SET": str(make_set("small", {"a": ""}))}
    with pytest.raises(TemplateFailed, match="no template"):
        Lookup.of(record, worktree_root).template(record)
    assert Lookup.of(record, worktree_root).prompt(name) is None
    with pytest.raises(TemplateSetNotFound):
        TemplateSets([worktree_root]).find(name)


def test_a_name_that_is_not_there_is_told(worktree_root: Path, make_set: MakeSet) -> None:
    make_set("small", {"ptree.yaml.j2": "[]"})
    sets = TemplateSets([worktree_root])
    with pytest.raises(TemplateSetNotFound, match="Template-set 'smal' not found") as raised:
        sets.find("smal")
    assert "Did you mean 'small'?" in raised.value.report()
    with pytest.raises(TemplateSetNotFound):
        sets.find("")


def test_installed_sets_are_found_without_running_them(
    tmp_path: Path, worktree_root: Path, make_set: MakeSet, write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = installed(tmp_path / "site", "p1_sets", write_files, "mine = p1_sets.sets.mine")
    installed(site, "p1_gone", write_files, "gone = p1_gone.not.there")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    make_set("mine", {"ptree.yaml.j2": "[]"})
    sets = TemplateSets([worktree_root])
    found = sets.find("mine")
    assert (found.source, found.distribution) == ("entry point", "p1_sets")
    assert found.folder == site / "p1_sets" / "sets" / "mine"
    assert found.other_locations == (worktree_root / "mine",)
    assert sets.all()["mine"] == found
    assert "gone" not in sets.all()


def test_templates_are_looked_for_by_their_names_on_disk(worktree_root: Path, make_set: MakeSet) -> None:
    name = "{{ PROJ.ROOT }}/{{ MOD.NAME }}.py.j2"
    folder = make_set("small", {name: ""})
    record = {"FILE_NAME": name, "RENDERED_FILE_NAME": "x.py", "TEMPLATE_SET": str(folder)}
    assert Lookup.of(record, worktree_root).template(record) == folder / name
    with pytest.raises(TemplateFailed, match="no template 'out/x") as raised:
        Lookup.of(record, worktree_root).template({**record, "FILE_NAME": "out/x.py.j2"})
    assert raised.value.where == "x.py"
    with pytest.raises(TemplateFailed, match="no FILE_NAME"):
        Lookup.of(record, worktree_root).template({"RENDERED_FILE_NAME": "x.py"})


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "link"])
def test_templates_do_not_leave_their_folders(worktree_root: Path, make_set: MakeSet, name: str) -> None:
    folder = make_set("small", {"ptree.yaml.j2": "[]"})
    (worktree_root.parent / "secret").write_text("")
    (folder / "link").symlink_to(worktree_root.parent / "secret")
    record = {"FILE_NAME": name, "RENDERED_FILE_NAME": "x.py", "TEMPLATE_SET": str(folder)}
    with pytest.raises(TemplateUnsafe, match="leads out"):
        Lookup.of(record, worktree_root).template(record)
    with pytest.raises(TemplateUnsafe, match="leads out"):
        Lookup.of(record, worktree_root).prompt(name)
    with pytest.raises(TemplateUnsafe, match="leads out"):
        Lookup.of(record, worktree_root).prompt(str(worktree_root.parent / "secret"))


def test_prompts_are_looked_for_everywhere(worktree_root: Path, make_set: MakeSet, write_files: WriteFiles) -> None:
    folder = make_set("small", {"prompts/deep.j2": "", "top.j2": ""})
    write_files(worktree_root, {"own/mine.j2": "", ".venv/lib/hidden.j2": ""})
    lookup = Lookup((folder,), worktree_root)
    assert lookup.prompt("top.j2") == folder / "top.j2"
    assert lookup.prompt("deep.j2") == folder / "prompts" / "deep.j2"
    assert lookup.prompt("elsewhere/deep.j2") == folder / "prompts" / "deep.j2"
    assert lookup.prompt("own/mine.j2") == worktree_root / "own" / "mine.j2"
    assert lookup.prompt("mine.j2") == worktree_root / "own" / "mine.j2"
    assert lookup.prompt("hidden.j2") is None
    assert lookup.of_set("mine.j2") is None
    assert lookup.of_set("top.j2") == folder / "top.j2"


def test_what_a_run_makes_is_no_template(worktree_root: Path, write_files: WriteFiles) -> None:
    write_files(worktree_root, {"made.j2": "", "sub/made.j2": ""})
    lookup = Lookup((), worktree_root, frozenset({"made.j2", "sub/made.j2"}))
    for name in ("made.j2", "./made.j2", "x/made.j2"):
        with pytest.raises(TemplateUnsafe, match="is generated"):
            lookup.prompt(name)
