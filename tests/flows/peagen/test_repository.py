"""`--repo` and `--ref`: where a command works, and that nothing of what it made is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PAYLOAD = {
    "PROJECTS": [
        {"NAME": "Demo", "ROOT": ".", "TEMPLATE_SET": "tiny", "PACKAGES": [{"NAME": "p", "MODULES": [{"NAME": "m"}]}]}
    ]
}
PTREE = """
FILES:
  - {FILE_NAME: file.j2, RENDERED_FILE_NAME: out/made.txt, PROCESS_TYPE: COPY}
"""


@pytest.fixture
def repository(tmp_path: Path, write_files: Any, git: Any) -> Path:
    """On `main` a set that makes "one", on `other` one that makes "two"."""
    root = tmp_path / "repository"
    write_files(root, {"tiny/ptree.yaml.j2": PTREE, "tiny/file.j2": "one", "projects.yaml": yaml.safe_dump(PAYLOAD)})
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    git(root, "tag", "v1")
    git(root, "checkout", "-b", "other")
    (root / "tiny" / "file.j2").write_text("two")
    git(root, "commit", "-am", "second")
    git(root, "checkout", "main")
    return root


def process(peagen: Any, at: Path, *more: str | Path) -> Any:
    return peagen("local", "process", "projects.yaml", "--json", *more, at=at)


def test_a_local_path_is_the_work_tree(peagen: Any, repository: Path, tmp_path: Path, git: Any) -> None:
    for ref in ((), ("--ref", "HEAD"), ("--ref", "main")):
        done = process(peagen, tmp_path, "--repo", repository, *ref)
        assert done.code == 0, done.err
        assert done.json["commit"] is None
    assert (repository / "out" / "made.txt").read_text() == "one"
    assert git(repository, "log", "--format=%s") == "first"


def test_what_is_written_is_committed_when_asked(peagen: Any, repository: Path, git: Any) -> None:
    (repository / "mine.txt").write_text("not ready")
    done = process(peagen, repository, "--commit")
    assert done.code == 0, done.err
    assert done.json["commit"] == git(repository, "rev-parse", "HEAD")
    assert git(repository, "show", "HEAD:out/made.txt") == "one"
    assert "?? mine.txt" in git(repository, "status", "--short")
    again = process(peagen, repository, "--commit")
    assert (again.code, again.json["commit"]) == (0, None)


def test_another_branch_gets_the_result_and_the_checkout_stays(peagen: Any, repository: Path, git: Any) -> None:
    done = process(peagen, repository, "--ref", "other")
    assert done.code == 0, done.err
    assert done.json["commit"] == git(repository, "rev-parse", "other")
    assert git(repository, "show", "other:out/made.txt") == "two"
    assert git(repository, "log", "--format=%s", "other").splitlines()[1:] == ["second", "first"]
    changed = git(repository, "diff", "--name-only", "other~1", "other").splitlines()
    assert changed == ["out/made.txt", "peagen.lock"]
    assert git(repository, "symbolic-ref", "--short", "HEAD") == "main"
    assert git(repository, "status", "--short") == ""
    again = process(peagen, repository, "--ref", "other")
    assert (again.code, again.json["commit"], again.json["counts"]) == (0, None, {"unchanged": 1})
    git(repository, "checkout", "other")  # nobody else has it


def test_a_tag_gets_a_branch(peagen: Any, repository: Path, git: Any) -> None:
    done = process(peagen, repository, "--ref", "v1")
    (branch,) = git(repository, "branch", "--list", "pea/*", "--format=%(refname:short)").splitlines()
    assert branch == f"pea/run/v1-{git(repository, 'rev-parse', 'v1')[:7]}"
    assert git(repository, "rev-parse", branch) == done.json["commit"]
    assert git(repository, "rev-parse", f"{branch}^") == git(repository, "rev-parse", "v1")
    assert branch in done.err


def test_a_branch_that_somebody_has_checked_out_is_left_alone(
    peagen: Any, repository: Path, tmp_path: Path, git: Any
) -> None:
    git(repository, "worktree", "add", tmp_path / "elsewhere", "other")
    before = git(repository, "rev-parse", "other")
    assert process(peagen, repository, "--ref", "other").code == 0
    assert git(repository, "rev-parse", "other") == before
    assert git(repository, "branch", "--list", "pea/run/other-*") != ""


def test_a_run_that_was_interrupted_goes_on_where_it_was(peagen: Any, repository: Path, git: Any) -> None:
    process(peagen, repository, "--ref", "v1")
    (tree,) = (repository / ".git" / "peagen" / "worktrees").iterdir()
    (tree / "half.txt").write_text("made before it was killed")
    done = process(peagen, repository, "--ref", "v1")
    assert git(repository, "show", f"{done.json['commit']}:half.txt") == "made before it was killed"


def test_a_repository_elsewhere(peagen: Any, repository: Path, tmp_path: Path, git: Any) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for url, ref, text in (
        (f"file://{repository}", None, "one"),
        (f"git+file://{repository}", "other", "two"),
        (f"file://{repository}", "v1", "one"),
    ):
        done = process(peagen, here, "--repo", url, *(("--ref", ref) if ref else ()))
        assert done.code == 0, done.err
        start = git(repository, "rev-parse", ref or "HEAD")[:7]
        branch = f"pea/run/{ref or 'HEAD'}-{start}"
        assert git(repository, "rev-parse", branch) == done.json["commit"]
        assert git(repository, "show", f"{branch}:out/made.txt") == text
    assert list(here.iterdir()) == []
    again = process(peagen, here, "--repo", f"file://{repository}", "--ref", "other")
    assert (again.code, again.json["commit"]) == (0, None)


def test_what_cannot_be_pushed_is_kept_in_the_clone(peagen: Any, repository: Path, tmp_path: Path, git: Any) -> None:
    hook = repository / ".git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = process(peagen, tmp_path, "--repo", f"file://{repository}")
    assert done.code == 0
    assert "[WARNING] git push failed" in done.err
    (clone,) = (tmp_path / "home" / "cache" / "clones").iterdir()
    assert str(clone) in done.err
    assert git(clone, "show", f"{done.json['commit']}:out/made.txt") == "one"


def test_sorting_reads_a_ref_and_leaves_no_branch(peagen: Any, repository: Path, git: Any) -> None:
    done = peagen("local", "sort", "projects.yaml", "--ref", "v1", at=repository)
    assert done.out == "Project Demo:\n  0) out/made.txt\n"
    assert peagen("check", "projects.yaml", "--ref", "v1", at=repository).code == 1
    assert git(repository, "branch", "--list", "pea/*") == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--ref", "gone"), "there is no branch, tag or commit 'gone'"),
        (("--ref=--upload-pack=x",), "is no name of a branch"),
        (("--repo", "gone"), "there is no folder"),
        (("--repo", "file:///gone/away.git"), "git clone failed"),
        (("--repo", "https://ada:secret@127.0.0.1:1/x.git"), "git clone failed"),
        (("--repo", "ext::sh -c true://x"), "there is no folder"),
    ],
)
def test_what_is_not_there(peagen: Any, repository: Path, options: tuple[str, ...], says: str) -> None:
    done = process(peagen, repository, *options)
    assert (done.code, done.out) == (1, "")
    assert says in done.err
    assert "secret" not in done.err


def test_two_runs_do_not_share_a_work_tree(peagen: Any, repository: Path) -> None:
    import fcntl

    folder = repository / ".git" / "peagen"
    folder.mkdir()
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = process(peagen, repository, "--ref", "other")
        assert done.code == 1
        assert "another run works in this repository" in done.err


def test_an_output_base_is_a_folder_of_the_work_tree(peagen: Any, repository: Path) -> None:
    assert process(peagen, repository, "--output-base", "generated/here").code == 0
    assert (repository / "generated" / "here" / "out" / "made.txt").read_text() == "one"
    assert not (repository / "out").exists()
