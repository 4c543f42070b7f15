"""`peagen local template-set`: what there is, what is added without running any of its code, and what is removed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

PTREE = "FILES:\n  - {FILE_NAME: a.j2, RENDERED_FILE_NAME: a.txt}\n"
EVIL = "raise SystemExit('this code ran')\n"


@pytest.fixture
def made(tmp_path: Path, write_files: Any) -> Path:
    folder = tmp_path / "made"
    write_files(folder, {"ptree.yaml.j2": PTREE, "a.j2": "a", "sub/b.j2": "b"})
    return folder


def wheel(folder: Path, name: str = "nice_sets", version: str = "1.2") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": EVIL,
        f"{name}/sets/__init__.py": EVIL,
        f"{name}/sets/nice/__init__.py": EVIL,
        f"{name}/sets/nice/ptree.yaml.j2": PTREE,
        f"{name}/sets/nice/a.j2": "nice",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[peagen.template_sets]\nnice = {name}.sets.nice\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return path


def names(peagen: Any) -> list[str]:
    return [each["name"] for each in peagen("local", "template-set", "list", "--json").json["template_sets"]]


def record(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "home" / ".peagen" / "template_sets" / "sets.json").read_text())


def test_the_bundled_ones(peagen: Any) -> None:
    done = peagen("local", "template-set", "list")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in lines[:-1]] == ["fastapi_service", "pythonpkg", "swarmauri_base"]
    assert lines[-1] == "Total: 3 set(s)"


def test_a_folder_of_the_work_tree_is_a_set(peagen: Any, tmp_path: Path, made: Path) -> None:
    assert names(peagen) == ["fastapi_service", "made", "pythonpkg", "swarmauri_base"]
    done = peagen("local", "template-set", "show", "made", "--repo", tmp_path, at=tmp_path.parent)
    assert done.out.splitlines()[:2] == ["Template-set: made (folder)", f"Location: {made}"]
    assert done.out.splitlines()[-4:] == ["Files:", "  a.j2", "  ptree.yaml.j2", "  sub/b.j2"]


def test_one_that_is_not_there(peagen: Any) -> None:
    for command in ("show", "remove"):
        done = peagen("local", "template-set", command, "pythonpgk", *(["--yes"] if command == "remove" else []))
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("❌  Template-set 'pythonpgk' not found")
        assert "pythonpkg" in done.err


def test_a_folder_is_copied(peagen: Any, tmp_path: Path, made: Path) -> None:
    done = peagen("local", "template-set", "add", made, "--json")
    assert done.code == 0, done.err
    (added,) = done.json["added"]
    home = tmp_path / "home" / ".peagen" / "template_sets"
    assert (home / "made" / "sub" / "b.j2").read_text() == "b"
    assert record(tmp_path) == {"made": added}
    assert (added["type"], added["source"], added["editable"]) == ("local", str(made), False)
    again = peagen("local", "template-set", "add", made)
    assert again.code == 1
    assert again.err == "❌  made is there already\n  --force replaces it\n"
    (made / "a.j2").write_text("changed")
    assert peagen("local", "template-set", "add", made, "--force").out == "made\n"
    assert (home / "made" / "a.j2").read_text() == "changed"
    assert record(tmp_path)["made"]["digest"] != added["digest"]
    assert sorted(path.name for path in home.iterdir()) == ["made", "sets.json"]
    shown = peagen("local", "template-set", "show", "made", "--json", at=tmp_path / "home").json
    assert shown["digest"] == record(tmp_path)["made"]["digest"]
    assert shown["added"]["source"] == str(made)


def test_a_folder_is_linked(peagen: Any, tmp_path: Path, made: Path) -> None:
    assert peagen("local", "template-set", "add", "-e", made).code == 0
    assert peagen("local", "template-set", "show", "made", at=tmp_path / "home").out.splitlines()[1].endswith(str(made))
    assert peagen("local", "template-set", "remove", "made", "--yes", at=tmp_path / "home").code == 0
    assert (made / "a.j2").is_file()
    assert record(tmp_path) == {}


def test_a_folder_of_sets(peagen: Any, tmp_path: Path, write_files: Any) -> None:
    write_files(tmp_path / "many", {"one/ptree.yaml.j2": PTREE, "two/ptree.yaml.j2": PTREE, "three/x": ""})
    assert peagen("local", "template-set", "add", "many").out == "one\ntwo\n"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive(peagen: Any, tmp_path: Path, made: Path, kind: str) -> None:
    path = tmp_path / f"bundle.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for each in ("ptree.yaml.j2", "a.j2"):
                archive.write(made / each, f"packed/{each}")
    else:
        with tarfile.open(path, "w:gz") as tar:
            tar.add(made, "packed")
    done = peagen("local", "template-set", "add", "--from-bundle", path, "--json")
    assert done.code == 0, done.err
    (added,) = done.json["added"]
    assert (added["name"], added["type"]) == ("packed", "bundle")
    assert added["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_archive_without_a_folder_is_called_after_itself(peagen: Any, tmp_path: Path, made: Path) -> None:
    with zipfile.ZipFile(tmp_path / "flat.v1.zip", "w") as archive:
        archive.write(made / "ptree.yaml.j2", "ptree.yaml.j2")
    assert peagen("local", "template-set", "add", tmp_path / "flat.v1.zip").out == "flat\n"


def test_a_wheel_is_unpacked_and_none_of_its_code_runs(peagen: Any, tmp_path: Path) -> None:
    done = peagen("local", "template-set", "add", wheel(tmp_path))
    assert (done.code, done.out) == (0, "nice\n"), done.err
    done = peagen("local", "template-set", "show", "nice", "--json")
    assert done.json["files"] == ["__init__.py", "a.j2", "ptree.yaml.j2"]
    assert peagen("local", "template-set", "remove", "nice", "-y").out.startswith("removed nice: ")
    assert "nice" not in names(peagen)


def test_a_project_says_which_sets_it_has(peagen: Any, tmp_path: Path, write_files: Any) -> None:
    write_files(
        tmp_path / "project",
        {
            "pyproject.toml": '[project]\nname = "x"\n[project.entry-points."peagen.template_sets"]\nmine = "x.mine"\n',
            "setup.py": EVIL,
            "src/x/__init__.py": EVIL,
            "src/x/mine/ptree.yaml.j2": PTREE,
        },
    )
    done = peagen("local", "template-set", "add", "project")
    assert (done.code, done.out) == (0, "mine\n"), done.err
    write_files(tmp_path / "older", {"setup.cfg": "[options.entry_points]\npeagen.template_sets =\n    old = y.old\n"})
    write_files(tmp_path / "older", {"y/old/ptree.yaml.j2": PTREE})
    assert peagen("local", "template-set", "add", "older").out == "old\n"


def test_what_has_to_be_built_is_asked_for_first(peagen: Any, tmp_path: Path, write_files: Any) -> None:
    write_files(tmp_path / "project", {"setup.py": EVIL})
    done = peagen("local", "template-set", "add", "project")
    assert done.code == 1
    assert "has to be built, which runs its code" in done.err
    assert "--yes" in done.err


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `uv` that installs from a folder; notes how it was called."""
    packed = wheel(tmp_path)
    tool = tmp_path / "bin" / "uv"
    tool.parent.mkdir()
    tool.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$*" in
*nice-sets*) ;;
*) echo "no such distribution" >&2; exit 1 ;;
esac
while [ "$1" != "--target" ]; do shift; done
mkdir -p "$2" && cd "$2" && {sys.executable} -m zipfile -e {packed} .
"""
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return tmp_path / "calls"


def test_a_distribution_of_an_index_is_pinned(peagen: Any, tmp_path: Path, index: Path) -> None:
    done = peagen("local", "template-set", "add", "nice-sets==1.2", "--json")
    assert done.code == 0, done.err
    (added,) = done.json["added"]
    assert (added["type"], added["distribution"], added["version"]) == ("pip", "nice_sets", "1.2")
    assert added["digest"].startswith("sha256:")
    assert "pip install --no-deps --only-binary :all: --target" in index.read_text()
    done = peagen("local", "template-set", "add", "other")
    assert done.code == 1
    assert "uv failed: no such distribution" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "SRC"),
        (["made", "--from-bundle", "x.zip"], 2, "SRC"),
        (["./gone"], 1, "there is nothing at"),
        (["loop"], 1, "it cannot be read"),
        (["--from-bundle", "gone.zip"], 1, "there is nothing at"),
        (["text.txt"], 1, "no folder, zip, tar or wheel"),
        (["empty"], 1, "no folder with a ptree.yaml.j2"),
        (["bad.zip"], 1, "would land elsewhere"),
        (["bad.tar"], 1, "would land elsewhere"),
        (["bare.whl"], 1, "declares no template sets"),
        (["-e", "bad.zip"], 1, "only a folder"),
        (["--", "--index-url=x"], 1, "is no name of a distribution"),
    ],
)
def test_what_cannot_be_added(peagen: Any, tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("text")
    (folder / "loop").symlink_to("loop")
    with zipfile.ZipFile(folder / "bad.zip", "w") as archive:
        archive.writestr("ptree.yaml.j2", PTREE)
        archive.writestr("../evil.j2", "x")
    with zipfile.ZipFile(folder / "bare.whl", "w") as archive:
        archive.writestr("x.py", "x")
    with tarfile.open(folder / "bad.tar", "w") as tar:
        entry = tarfile.TarInfo("/tmp/evil.j2")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    done = peagen("local", "template-set", "add", *arguments, at=folder)
    assert (done.code, done.out) == (code, ""), done.err
    assert says in done.err
    assert "made" not in names(peagen)


def test_what_is_bundled_or_not_ours_stays(peagen: Any, tmp_path: Path, made: Path) -> None:
    done = peagen("local", "template-set", "remove", "pythonpkg", "--yes")
    assert (done.code, done.err) == (1, "❌  Cannot uninstall bundled template-set\n")
    done = peagen("local", "template-set", "remove", "made", "--yes")
    assert done.code == 1
    assert "was not added" in done.err
    peagen("local", "template-set", "add", made)
    done = peagen("local", "template-set", "remove", "made", at=tmp_path / "home")
    assert done.code == 1
    assert "--yes" in done.err
    assert (made / "a.j2").is_file()


@pytest.mark.parametrize("name", ["..", ".", "../..", "sub/..", ""])
def test_a_name_that_leads_elsewhere_removes_and_shows_nothing(
    peagen: Any, tmp_path: Path, made: Path, name: str
) -> None:
    peagen("local", "template-set", "add", made)
    home = tmp_path / "home" / ".peagen"
    before = sorted(home.rglob("*"))
    for command in (("remove", "--yes"), ("show",)):
        done = peagen("local", "template-set", *command, "--", name)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("❌  ")
    assert sorted(home.rglob("*")) == before


def test_a_set_that_was_added_is_found_by_every_command(peagen: Any, tmp_path: Path, made: Path) -> None:
    peagen("local", "template-set", "add", made)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "p.yaml").write_text("PROJECTS: [{NAME: P, TEMPLATE_SET: made, PACKAGES: [{NAME: x}]}]")
    assert peagen("local", "sort", "p.yaml", at=folder).out == "Project P:\n  0) a.txt\n"
    assert peagen("check", "p.yaml", at=folder).out == "a.txt: it is missing\n"
    assert peagen("local", "process", "p.yaml", at=folder).code == 0
    assert (folder / "a.txt").read_text() == "a"
