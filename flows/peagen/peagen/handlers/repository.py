"""`--repo PATH_OR_URL --ref REF`: the work-tree that a command works in, and the branch that its result is kept on.

A local path without a ref is the work-tree itself. Anything else is checked out in a work-tree of its own, which stays
where it is: what a run that was killed had done is there when it is started again. What comes out is committed to a
branch, so nothing is lost and nobody's checkout is touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peagen.errors import GitError, WorkspaceNotFoundError
from peagen.handlers.git import commit_all, git, git_says, masked

_URL = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://|[\w.-]+@[\w.-]+:)")


@dataclass(frozen=True)
class Checkout:
    """Where a command works."""

    root: Path
    branch: str | None = None
    """Where the result is committed to; None in the user's own work-tree."""
    repository: Path | None = None
    """The repository of the branch."""
    push: bool = False
    """Whether the branch belongs to a repository elsewhere."""


def is_url(repo: str) -> bool:
    """Whether it names a repository elsewhere rather than a folder."""
    return _URL.match(repo) is not None


def git_url(uri: str) -> str:
    """What git understands: `git+URL` without its prefix, `gh://owner/repo` as GitHub's address."""
    if uri.startswith("gh://"):
        return f"https://github.com/{uri.removeprefix('gh://').strip('/').removesuffix('.git')}.git"
    return uri.removeprefix("git+")


def cache_root() -> Path:
    """Where clones are kept: `PEAGEN_ROOT_DIR`, or `~/.cache/peagen`."""
    return Path(os.environ.get("PEAGEN_ROOT_DIR") or Path.home() / ".cache" / "peagen")


@contextlib.contextmanager
def open_repository(repo: str | None, ref: str | None) -> Iterator[Checkout]:
    """The work-tree of a repository, for as long as nobody else may work in it.

    Raises:
        WorkspaceNotFoundError: there is no such folder.
        GitError: git cannot get it, there is no such ref, or another run works in it.
    """
    if ref is not None and ref.startswith("-"):
        raise GitError(f"{ref!r} is no name of a branch, tag or commit")
    url = git_url(repo) if repo is not None else ""
    if is_url(url):
        clone = _clone_of(url)
        with _alone(clone / ".git"):
            git("fetch", "--quiet", "--tags", "--force", "--prune", "origin", cwd=clone)
            commit = _remote_commit(clone, url, ref)
            branch = f"pea/run/{_slug(ref or 'HEAD')}-{commit[:7]}"
            yield Checkout(_worktree(clone, branch, commit), branch, clone, push=True)
        return
    root = Path(repo or ".").expanduser().resolve()
    if not root.is_dir():
        raise WorkspaceNotFoundError(f"there is no folder {root}", where="--repo")
    if ref in {None, "HEAD"} or git_says("symbolic-ref", "--short", "HEAD", cwd=root) == ref:
        yield Checkout(root)
        return
    assert ref is not None
    commit = _local_commit(root, ref)
    branch = _branch_for(root, ref, commit)
    with _alone(_git_folder(root)):
        yield Checkout(_worktree(root, branch, commit), branch, root)


def keep(checkout: Checkout, message: str) -> str | None:
    """Commits what changed in a work-tree of its own, on its branch; returns the commit, None where nothing is new.

    Raises:
        GitError: it cannot be committed. The work-tree stays as it is.
    """
    if checkout.branch is None or checkout.repository is None:
        return None
    commit_all(checkout.root, "peagen: generated files")
    head = git("rev-parse", "HEAD", cwd=checkout.root)
    name = f"refs/heads/{checkout.branch}"
    before = git_says("rev-parse", "--verify", "--quiet", name, cwd=checkout.repository)
    if before == head:
        return None
    if before is None and git_says("merge-base", "--is-ancestor", head, "HEAD", cwd=checkout.repository) is not None:
        return None  # nothing came out: no branch for it
    git("update-ref", "-m", message, name, head, before or "", cwd=checkout.repository)
    return head


def push(checkout: Checkout) -> None:
    """Sends the branch to where the repository came from.

    Raises:
        GitError: it is not taken; the commit is safe in the clone.
    """
    if checkout.push and checkout.branch and checkout.repository:
        name = f"refs/heads/{checkout.branch}"
        git("push", "--quiet", "origin", f"{name}:{name}", cwd=checkout.repository)


def clone(url: str, folder: Path) -> None:
    """Clone without a checkout; a clone that fails leaves nothing behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "--quiet", "--no-checkout", "--", url, str(folder))


def resolve(folder: Path, url: str, ref: str | None) -> str:
    """The commit of a branch, tag or commit of a clone; without one, of its default branch."""
    return _remote_commit(folder, url, ref)


def _clone_of(url: str) -> Path:
    folder = cache_root() / "clones" / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()[:12]
    if not (folder / ".git" / "HEAD").is_file():
        clone(url, folder)
    return folder


def _remote_commit(folder: Path, url: str, ref: str | None) -> str:
    wanted = "HEAD" if ref is None else ref
    for name in (f"refs/remotes/origin/{wanted}", f"refs/tags/{wanted}", wanted):
        if wanted == "HEAD" and name == wanted:
            continue
        if found := git_says("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", cwd=folder):
            return found
    # What no branch leads to, such as refs/pull/1/head, is only there when it is asked for.
    if git_says("fetch", "--quiet", "origin", wanted, cwd=folder) is not None:
        return git("rev-parse", "FETCH_HEAD^{commit}", cwd=folder)
    if wanted == "HEAD":
        raise GitError("the repository is empty", where=masked(url))
    raise GitError(f"there is no branch, tag or commit {wanted!r}", where=masked(url))


def _local_commit(root: Path, ref: str) -> str:
    if git_says("rev-parse", "--git-dir", cwd=root) is None:
        raise GitError("it is no git repository", where=str(root), hint="leave --ref out, or run git init")
    found = git_says("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", cwd=root)
    if found is None and git_says("remote", "get-url", "origin", cwd=root):
        return _remote_commit(root, "origin", ref)
    if found is None:
        raise GitError(f"there is no branch, tag or commit {ref!r}", where=str(root))
    return found


def _branch_for(root: Path, ref: str, commit: str) -> str:
    """The branch itself if it is one that nobody has checked out, else a new one from its commit."""
    taken = git("worktree", "list", "--porcelain", cwd=root).splitlines()
    if git_says("show-ref", "--verify", "--quiet", f"refs/heads/{ref}", cwd=root) is not None and (
        f"branch refs/heads/{ref}" not in taken
    ):
        return ref
    return f"pea/run/{_slug(ref)}-{commit[:7]}"


def _worktree(repository: Path, branch: str, commit: str) -> Path:
    """A work-tree at the branch, or at the commit if there is no such branch yet; no branch is checked out in it."""
    start = git_says("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", cwd=repository) or commit
    folder = _git_folder(repository) / "peagen" / "worktrees" / _slug(branch)
    git("worktree", "prune", cwd=repository)
    if not (folder / ".git").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        git("worktree", "add", "--quiet", "--force", "--detach", str(folder), start, cwd=repository)
    elif git("rev-parse", "HEAD", cwd=folder) != start:
        git("checkout", "--quiet", "--detach", start, cwd=folder)
    return folder


def _git_folder(root: Path) -> Path:
    return (root / git("rev-parse", "--git-common-dir", cwd=root)).resolve()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    (folder / "peagen").mkdir(parents=True, exist_ok=True)
    with (folder / "peagen" / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GitError("another run works in this repository", where=str(folder.parent)) from None
        yield


def _slug(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    return plain[:60] if plain == name else f"{plain[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
