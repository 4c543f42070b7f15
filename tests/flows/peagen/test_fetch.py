"""`peagen fetch`: what is brought here, from where, and what is never overwritten."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def origin(tmp_path: Path, write_files: Any, git: Any) -> Path:
    root = tmp_path / "origin"
    write_files(root, {"a.txt": "one", "sub/b.txt": "b"})
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    git(root, "tag", "v1")
    git(root, "checkout", "-b", "feature/x")
    (root / "a.txt").write_text("two")
    git(root, "commit", "-am", "second")
    git(root, "checkout", "main")
    return root


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def files(folder: Path) -> dict[str, str]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def test_a_folder_is_merged(peagen: Any, origin: Path, here: Path) -> None:
    (here / "mine.txt").write_text("mine")
    done = peagen("fetch", origin, at=here)
    assert (done.code, done.err) == (0, "")
    assert done.json == {
        "workspace": str(here),
        "fetched": [{"workspace": str(origin), "commit": None, "updated": True}],
    }
    assert files(here) == {"a.txt": "one", "mine.txt": "mine", "sub/b.txt": "b"}
    assert not (here / ".git").exists()
    assert not peagen("fetch", origin, at=here).json["fetched"][0]["updated"]


def test_what_differs_is_not_overwritten(peagen: Any, origin: Path, here: Path) -> None:
    (here / "a.txt").write_text("mine")
    done = peagen("fetch", origin, at=here)
    assert (done.code, done.out) == (1, "")
    assert "a.txt is here with other content" in done.err
    assert files(here) == {"a.txt": "mine"}
    assert peagen("fetch", origin, "--force", at=here).code == 0
    assert files(here) == {"a.txt": "one", "sub/b.txt": "b"}


@pytest.mark.parametrize(
    ("ref", "text", "branch"),
    [
        ("", "one", "main"),
        ("@HEAD", "one", "main"),
        ("@main", "one", "main"),
        ("@feature/x", "two", "feature/x"),
        ("@v1", "one", ""),
    ],
)
def test_a_repository_into_an_empty_folder_is_a_clone(
    peagen: Any, origin: Path, here: Path, git: Any, ref: str, text: str, branch: str
) -> None:
    done = peagen("fetch", f"git+file://{origin}{ref}", at=here)
    assert done.code == 0, done.err
    (fetched,) = done.json["fetched"]
    assert fetched["commit"] == git(origin, "rev-parse", ref.removeprefix("@") or "HEAD")
    assert fetched["updated"]
    assert files(here)["a.txt"] == text
    assert git(here, "branch", "--show-current") == branch
    assert git(here, "status", "--short") == ""


def test_a_clone_is_brought_up_to_date(peagen: Any, origin: Path, here: Path, git: Any) -> None:
    peagen("fetch", f"git+file://{origin}", at=here)
    assert not peagen("fetch", f"git+file://{origin}", at=here).json["fetched"][0]["updated"]
    (origin / "a.txt").write_text("three")
    git(origin, "commit", "-am", "third")
    assert peagen("fetch", f"git+file://{origin}", at=here).json["fetched"][0]["updated"]
    assert files(here)["a.txt"] == "three"
    (here / "a.txt").write_text("mine")
    git(here, "commit", "-am", "mine")
    (origin / "a.txt").write_text("four")
    git(origin, "commit", "-am", "fourth")
    done = peagen("fetch", f"git+file://{origin}", at=here)
    assert done.code == 1
    assert "git merge failed" in done.err
    assert files(here)["a.txt"] == "mine"


def test_a_repository_into_a_filled_folder_brings_its_files(peagen: Any, origin: Path, here: Path, git: Any) -> None:
    (here / "mine.txt").write_text("mine")
    done = peagen("fetch", f"git+{origin}@v1", at=here)
    assert done.json["fetched"][0]["commit"] == git(origin, "rev-parse", "v1")
    assert files(here) == {"a.txt": "one", "mine.txt": "mine", "sub/b.txt": "b"}
    assert not (here / ".git").exists()


def test_the_repository_as_options(peagen: Any, origin: Path, here: Path, tmp_path: Path) -> None:
    done = peagen("fetch", "--repo", f"file://{origin}", "--ref", "feature/x", "-o", here, at=tmp_path)
    assert done.code == 0, done.err
    assert files(here)["a.txt"] == "two"


def test_github_by_its_short_name(peagen: Any, origin: Path, here: Path, git: Any) -> None:
    git(origin, "config", "--global", f"url.{origin}/.insteadOf", "https://github.com/ada/lovelace.git")
    done = peagen("fetch", "gh://ada/lovelace@feature/x", at=here)
    assert done.code == 0, done.err
    assert done.json["fetched"][0]["workspace"] == "gh://ada/lovelace@feature/x"
    assert files(here)["a.txt"] == "two"


def test_a_storage(peagen: Any, origin: Path, here: Path) -> None:
    done = peagen("fetch", f"file://{origin / 'sub'}", at=here)
    assert done.code == 0, done.err
    assert files(here) == {"b.txt": "b"}


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("gone", "there is no workspace gone"),
        ("file.txt", "Unsupported workspace URI"),
        ("git+file:///gone.git", "git clone failed"),
        ("git+gone", "there is no repository"),
        ("git+", "names no workspace"),
        ("gh://", "names no workspace"),
        ("gh://ada/../../x", "names no workspace"),
        ("", "names no workspace"),
        ("git+file://ORIGIN@gone", "there is no branch, tag or commit 'gone'"),
        ("git+file://ORIGIN@", "is no name of a branch"),
        ("git+file://ORIGIN@--all", "is no name of a branch"),
        ("git+ext::sh -c 'touch pwned' %S@x", "there is no repository"),
        ("magic://x/y", "magic"),
    ],
)
def test_what_cannot_be_fetched(peagen: Any, origin: Path, here: Path, uri: str, says: str) -> None:
    (here / "file.txt").write_text("")
    done = peagen("fetch", uri.replace("ORIGIN", str(origin)), at=here)
    assert done.code == 1, done.out
    assert says in done.err
    assert files(here) == {"file.txt": ""}


def test_nothing_to_fetch(peagen: Any, here: Path) -> None:
    assert peagen("fetch", at=here).code == 2
    assert peagen("fetch", "--ref", "x", at=here).code == 2


def test_links_do_not_lead_out(peagen: Any, tmp_path: Path, write_files: Any, here: Path) -> None:
    source = write_files(tmp_path / "source", {"a/b.txt": "b"})
    (tmp_path / "secret").write_text("secret")
    (source / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "outside").mkdir()
    (here / "a").symlink_to(tmp_path / "outside")
    done = peagen("fetch", source, at=here)
    assert done.code == 1
    assert "leads out of the folder" in done.err
    assert list((tmp_path / "outside").iterdir()) == []
    (here / "a").unlink()
    assert peagen("fetch", source, at=here).code == 0
    assert files(here) == {"a/b.txt": "b"}


CONFIG = """\
[[source_packages]]
type = "git"
uri = "file://ORIGIN"
ref = "v1"
path = "sub"
dest = "vendor/sub"
[[source_packages]]
uri = "ORIGIN"
dest = "vendor/all"
[[template_sets]]
name = "mine"
type = "local"
target = "sets/mine"
"""


def test_what_the_configuration_names(peagen: Any, origin: Path, here: Path, write_files: Any) -> None:
    write_files(here, {".peagen.toml": CONFIG.replace("ORIGIN", str(origin)), "sets/mine/ptree.yaml.j2": "[]"})
    done = peagen("fetch", "--no-source", "--no-install-template-sets", at=here)
    assert done.json["fetched"] == []
    assert not (here / "vendor").exists()
    done = peagen("fetch", at=here)
    assert done.code == 0, done.err
    assert [each["dest"] for each in done.json["source_packages"]] == ["vendor/sub", "vendor/all"]
    assert [each["name"] for each in done.json["template_sets"]] == ["mine"]
    assert (here / "vendor" / "sub" / "b.txt").read_text() == "b"
    assert (here / "vendor" / "all" / "a.txt").read_text() == "one"
    assert peagen("local", "template-set", "show", "mine").code == 0
    (here / "vendor" / "all" / "a.txt").write_text("mine")
    assert peagen("fetch", at=here).code == 0
    assert (here / "vendor" / "all" / "a.txt").read_text() == "mine"
    (origin / "a.txt").write_text("other")
    done = peagen("fetch", at=here)
    assert done.code == 1
    assert "vendor/all: its checksum is" in done.err
    assert peagen("fetch", "--force", at=here).code == 0


def test_a_configuration_that_is_fetched_does_not_see_the_environment(
    peagen: Any, origin: Path, here: Path, write_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", str(origin / "sub"))
    text = '[[source_packages]]\nuri = "${SECRET}"\ndest = "v"\n'
    write_files(origin, {".peagen.toml": text})
    done = peagen("fetch", origin, at=here)
    assert done.code == 1
    assert "there is no folder ${SECRET}" in done.err
    assert peagen("fetch", at=here).code == 0  # it is here now, and looked at
    assert (here / "v" / "b.txt").read_text() == "b"


@pytest.mark.parametrize("text", ["[", "[]", "3"])
def test_a_lock_that_is_damaged(peagen: Any, origin: Path, here: Path, write_files: Any, text: str) -> None:
    config = f'[[source_packages]]\nuri = "{origin}"\ndest = "v"\n'
    write_files(here, {".peagen.toml": config, "source_packages.lock": text})
    done = peagen("fetch", at=here)
    assert done.code == 1
    assert "it is no JSON object" in done.err


@pytest.mark.parametrize("dest", ["../out", "/tmp/out", "."])
def test_a_source_package_stays_within(peagen: Any, origin: Path, here: Path, write_files: Any, dest: str) -> None:
    write_files(here, {".peagen.toml": f'[[source_packages]]\nuri = "{origin}"\ndest = "{dest}"\n'})
    done = peagen("fetch", at=here)
    assert done.code == 1
    assert "leads out of the workspace" in done.err


def test_a_bundle(peagen: Any, here: Path, tmp_path: Path, write_files: Any) -> None:
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("x/y.txt", "y")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../../evil.txt", "x")
    write_files(
        here, {".peagen.toml": f'[[source_packages]]\ntype = "bundle"\nuri = "{tmp_path}/good.zip"\ndest = "v"\n'}
    )
    assert peagen("fetch", at=here).code == 0
    assert (here / "v" / "x" / "y.txt").read_text() == "y"
    write_files(
        here, {".peagen.toml": f'[[source_packages]]\ntype = "bundle"\nuri = "{tmp_path}/bad.zip"\ndest = "w"\n'}
    )
    done = peagen("fetch", at=here)
    assert done.code == 1
    assert "would land elsewhere" in done.err
