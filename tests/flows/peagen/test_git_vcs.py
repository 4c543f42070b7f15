"""Versions with the real git: what is committed, where it is sent, who is shown the token."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from peagen.errors import GitError
from peagen.plugins.manager import PluginManager
from peagen.plugins.protocols import Vcs
from peagen.plugins.vcs.git_vcs import GitVCS
from peagen.plugins.vcs.refs import pea_ref, run_ref


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration but the repository's own."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def vcs(tmp_path: Path) -> GitVCS:
    made = GitVCS.init(tmp_path / "repo")
    assert isinstance(made, Vcs)
    return made


Write = Callable[..., str | None]


@pytest.fixture
def write(vcs: GitVCS) -> Write:
    """Writes a file and commits it."""

    def put(name: str, text: str, message: str = "more") -> str | None:
        path = vcs.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return vcs.commit([name], message)

    return put


def test_only_what_is_named_is_committed(vcs: GitVCS, write: Write) -> None:
    write("a.txt", "one")
    (vcs.root / "mine.txt").write_text("staged by hand")
    git(vcs.root, "add", "mine.txt")
    made = write("deep/{{ name }}*.txt", "two", "process Demo")
    assert made == git(vcs.root, "rev-parse", "HEAD")
    assert git(vcs.root, "show", "--name-only", "--format=%s %an", "HEAD").split("\n") == [
        "process Demo Peagen",
        "",
        "deep/{{ name }}*.txt",
    ]
    assert git(vcs.root, "diff", "--cached", "--name-only") == "mine.txt"


def test_nothing_new_is_no_commit(vcs: GitVCS, write: Write) -> None:
    first = write("a.txt", "one")
    assert write("a.txt", "one") is None
    assert vcs.commit([], "nothing") is None
    assert vcs.resolve() == first


def test_what_git_ignores_stays_out_and_what_is_gone_is_removed(vcs: GitVCS, write: Write) -> None:
    write(".gitignore", "*.log\n")
    (vcs.root / "x.log").write_text("noise")
    assert write("a.txt", "one") is not None
    assert vcs.commit(["x.log"], "noise") is None
    (vcs.root / "a.txt").unlink()
    assert vcs.commit(["a.txt", "x.log"], "gone") is not None
    assert git(vcs.root, "ls-files") == ".gitignore"


def test_a_folder_of_a_repository(vcs: GitVCS, write: Write) -> None:
    write("top.txt", "one")
    inner = GitVCS(vcs.root / "deep")
    inner.root.mkdir()
    (inner.root / "é.txt").write_text("two")
    assert inner.commit(["é.txt"], "below") is not None
    assert inner.blob_oid("é.txt") == git(vcs.root, "hash-object", "deep/é.txt")


def test_a_person_commits_under_their_own_name(vcs: GitVCS, write: Write) -> None:
    git(vcs.root, "config", "user.name", "Ada")
    git(vcs.root, "config", "user.email", "ada@example.com")
    write("a.txt", "one")
    assert git(vcs.root, "show", "--no-patch", "--format=%an %ae") == "Ada ada@example.com"


def test_what_is_no_repository_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(GitError, match="no git repository"):
        GitVCS(tmp_path).commit(["a.txt"], "x")
    with pytest.raises(GitError, match="no folder"):
        GitVCS(tmp_path / "nowhere").resolve()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="no git command"):
        GitVCS(tmp_path).commit(["a.txt"], "x")


def test_branches_fan_out_and_in(vcs: GitVCS, write: Write) -> None:
    write("a.txt", "one")
    names = vcs.fan_out("main", [run_ref({"model": "gpt-4", "temperature": 0.5}), pea_ref("run", "b")])
    assert names == ["pea/run/model-gpt-4_temperature-0.5", "pea/run/b"]
    assert vcs.branch == "main"
    with pytest.raises(GitError):
        vcs.fan_out("main", ["pea/run/c", "pea/run/b"])
    assert "pea/run/c" not in git(vcs.root, "branch")
    for name in names:
        vcs.switch(name)
        write(f"{name[-1]}.txt", name)
    vcs.switch("main")
    merged = vcs.fan_in(names, "both")
    assert merged == vcs.resolve("main")
    assert sorted(git(vcs.root, "ls-files").split()) == ["5.txt", "a.txt", "b.txt"]


def test_a_conflict_changes_nothing(vcs: GitVCS, write: Write) -> None:
    write("a.txt", "one")
    vcs.create_branch("other", checkout=True)
    write("a.txt", "two")
    vcs.switch("main")
    before = write("a.txt", "three")
    with pytest.raises(GitError, match="cannot be merged"):
        vcs.fan_in(["other"], "both")
    assert vcs.resolve() == before
    assert git(vcs.root, "status", "--porcelain") == ""
    vcs.merge_ours(["other"], "seen")
    assert (vcs.root / "a.txt").read_text() == "three"
    assert git(vcs.root, "merge-base", "--is-ancestor", "other", "main") == ""


def test_tags_promotions_and_resets(vcs: GitVCS, write: Write) -> None:
    first = write("a.txt", "one")
    vcs.tag("v1", message="the first")
    write("a.txt", "two")
    vcs.promote("v1", pea_ref("promoted", "best"))
    assert vcs.resolve("pea/promoted/best") == vcs.resolve("v1") == first
    (vcs.root / "a.txt").write_text("dirty")
    (vcs.root / "new.txt").write_text("new")
    vcs.clean_reset()
    assert (vcs.root / "a.txt").read_text() == "two"
    assert not (vcs.root / "new.txt").exists()


def test_objects(vcs: GitVCS, write: Write) -> None:
    commit = write("a.bin", "one\0two")
    oid = vcs.blob_oid("a.bin")
    assert (vcs.object_type(oid), vcs.object_size(oid), vcs.object_bytes(oid)) == ("blob", 7, b"one\0two")
    assert vcs.object_type(str(commit)) == "commit"
    assert "a.bin" in vcs.object_pretty("HEAD^{tree}")
    for wrong in ("--help", "nothing", "0" * 40):
        with pytest.raises(GitError):
            vcs.object_type(wrong)


def test_what_is_pushed_goes_to_origin_and_the_mirror(vcs: GitVCS, write: Write, tmp_path: Path) -> None:
    write("a.txt", "one")
    assert vcs.push() == []
    for name in ("origin", "mirror"):
        git(tmp_path, "init", "--quiet", "--bare", name)
    remotes = {"origin": str(tmp_path / "origin"), "upstream": "${GITHUB_REMOTE}"}
    both = GitVCS(vcs.root, remotes=remotes, mirror_git_url=str(tmp_path / "mirror"), mirror_git_token="hunter2")
    assert set(both.remotes()) == {"origin", "mirror"}
    assert both.push() == ["origin", "mirror"]
    both.create_branch(pea_ref("run", "a"))
    both.push_all()
    assert git(tmp_path / "origin", "rev-parse", "main") == git(tmp_path / "mirror", "rev-parse", "main")
    assert git(tmp_path / "origin", "branch", "--list", "pea/*") == "pea/run/a"
    both.add_remotes()
    both.add_remotes()
    assert git(vcs.root, "remote", "get-url", "origin") == str(tmp_path / "origin")
    copy = GitVCS.clone(str(tmp_path / "origin"), tmp_path / "copy", ref="pea/run/a")
    assert copy.resolve() == vcs.resolve()
    assert copy.fetch("main") == vcs.resolve("main")
    assert copy.fetch() is None


def test_names_cannot_be_options_and_addresses_no_programs(vcs: GitVCS, write: Write, tmp_path: Path) -> None:
    write("a.txt", "one")
    for name in ("--force", "-x", "a..b", "a b", "@{-1}", ""):
        with pytest.raises(GitError):
            vcs.create_branch(name)
        with pytest.raises(GitError):
            vcs.switch(name)
    with pytest.raises(GitError):
        vcs.fetch("--upload-pack=touch pwned")
    with pytest.raises(GitError):
        vcs.tag("--delete")
    with pytest.raises(GitError):
        GitVCS.clone(f"ext::sh -c touch% {tmp_path}/pwned", tmp_path / "copy")
    with pytest.raises(GitError):
        GitVCS.clone("--upload-pack=touch pwned", tmp_path / "copy")
    assert not list(tmp_path.rglob("pwned"))


def test_the_token_is_shown_to_the_mirror_alone(vcs: GitVCS, write: Write) -> None:
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    write("a.txt", "one")
    made = GitVCS(
        vcs.root,
        mirror_git_url=address,
        mirror_git_token="hunter2",
        owner="acme",
        remotes={"origin": f"{address}/origin.git"},
    )
    try:
        with pytest.raises(GitError) as caught:
            made._send("mirror", "main:main")
        with pytest.raises(GitError):
            made._send("origin", "main:main")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "hunter2" not in caught.value.report()
    assert "hunter2" not in (vcs.root / ".git" / "config").read_text()
    assert [(path.split("?")[0], bool(shown)) for path, shown in asked] == [
        ("/acme/repo.git/info/refs", True),
        ("/origin.git/info/refs", False),
    ]


def test_it_is_made_as_the_configuration_says(vcs: GitVCS) -> None:
    config = {"vcs": {"default_vcs": "git", "adapters": {"git": {"owner": "${OWNER}", "remotes": {"origin": "/x"}}}}}
    made = PluginManager(config).get("vcs", root=vcs.root)
    assert made.root == vcs.root
    assert made.remotes() == {"origin": "/x"}


def test_names_of_branches() -> None:
    assert pea_ref("factor", "model name", "a..b.lock") == "pea/factor/model-name/a.b"
    with pytest.raises(ValueError, match="kind"):
        pea_ref("nothing", "x")
    with pytest.raises(ValueError, match="below"):
        pea_ref("run")
