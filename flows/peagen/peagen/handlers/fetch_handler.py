"""`peagen fetch`: workspaces, source packages and template sets, brought here."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peagen.errors import PeagenError, WorkspaceNotFoundError
from peagen.handlers.git import git, git_says, masked
from peagen.handlers.repository import clone, git_url, is_url, resolve
from peagen.handlers.source_packages import fetch_packages
from peagen.handlers.trees import merge_tree

if TYPE_CHECKING:
    from peagen.config import Config

_GITHUB = re.compile(r"gh://[\w.-]+/[\w.-]+")
_STORAGE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Where things go, and which."""

    folder: Path
    with_source: bool = True
    install_template_sets: bool = True
    force: bool = False
    may_run_code: Callable[[str], bool] = lambda _: False
    config: Config | None = field(default=None, repr=False)


def fetch(uris: Sequence[str], options: FetchOptions) -> dict[str, Any]:
    """Bring workspaces into the folder.

    Returns:
        `workspace` (the folder), `fetched` (for each: `workspace`, `commit`, `updated`), and what came with the
        configuration: `source_packages` and `template_sets`.

    Raises:
        WorkspaceNotFoundError: there is no such workspace.
        WouldReplace: files that differ are here, and `force` is not set; nothing of that workspace is written.
        PeagenError: it is no workspace, or cannot be got.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "workspace": str(options.folder.resolve()),
        "fetched": [fetch_one(uri, options.folder, force=options.force) for uri in uris],
    }
    config = options.config
    if config is not None and options.with_source and config.source_packages:
        result["source_packages"] = fetch_packages(config.source_packages, options.folder, force=options.force)
    if config is not None and options.install_template_sets and config.template_sets:
        result["template_sets"] = _add_sets(config, options)
    return result


def fetch_one(uri: str, folder: Path, *, force: bool = False) -> dict[str, Any]:
    """Bring one workspace into the folder; `commit` is None where it is no repository."""
    address, ref = split_ref(uri)
    if uri.strip() in {"", "git+"} or (uri.startswith("gh://") and not _GITHUB.fullmatch(address)):
        raise WorkspaceNotFoundError(
            f"{uri!r} names no workspace", hint="name a folder, git+URL@ref or gh://owner/repo"
        )
    if uri.startswith(("git+", "gh://")):
        url = git_url(address)
        if not is_url(url):
            local = Path(url).expanduser()
            if not local.is_dir():
                raise WorkspaceNotFoundError(f"there is no repository {masked(uri)}")
            url = str(local.resolve())
        commit, updated = _fetch_git(url, ref, folder, force=force)
        return {"workspace": masked(uri), "commit": commit, "updated": updated}
    if _STORAGE.match(uri):
        return {"workspace": masked(uri), "commit": None, "updated": _fetch_storage(uri, folder, force=force)}
    source = Path(uri).expanduser()
    if not source.exists():
        raise WorkspaceNotFoundError(
            f"there is no workspace {uri}", hint="name a folder, git+URL@ref or gh://owner/repo"
        )
    if not source.is_dir():
        raise PeagenError(f"Unsupported workspace URI: {uri} is a file", hint="name the folder that it is in")
    return {"workspace": uri, "commit": None, "updated": merge_tree(source.resolve(), folder.resolve(), force=force)}


def split_ref(uri: str) -> tuple[str, str | None]:
    """`git+URL@ref` as the URL and the ref; the `@` of a user's name is none of a ref."""
    if not uri.startswith(("git+", "gh://")):
        return uri, None
    _, scheme, rest = uri.rpartition("://")
    if scheme and not uri.startswith("gh://"):
        authority, slash, path = rest.partition("/")
    elif ":" in rest and not scheme:
        authority, slash, path = rest.partition(":")
    else:
        authority, slash, path = "", "", rest
    name, at, ref = path.rpartition("@")
    if not at or not name:
        return uri, None
    if not ref or ref.startswith("-"):
        raise PeagenError(f"{ref!r} is no name of a branch, tag or commit", where=masked(uri))
    return uri[: len(uri) - len(rest)] + authority + slash + name, ref


def _fetch_git(url: str, ref: str | None, folder: Path, *, force: bool) -> tuple[str, bool]:
    """A clone where the folder is empty, the newest state where it is one already, else the files alone."""
    if (folder / ".git").exists() and git_says("remote", "get-url", "origin", cwd=folder) == url:
        before = git_says("rev-parse", "HEAD", cwd=folder)
        git("fetch", "--quiet", "--tags", "--prune", "origin", cwd=folder)
        _check_out(folder, url, ref)
        commit = git("rev-parse", "HEAD", cwd=folder)
        return commit, commit != before
    if not any(folder.iterdir()):
        # Cloned beside it first: a clone that is interrupted leaves nothing here.
        with tempfile.TemporaryDirectory(prefix=".peagen-fetch-", dir=folder.resolve().parent) as temporary:
            new = Path(temporary) / "clone"
            clone(url, new)
            _check_out(new, url, ref)
            for each in new.iterdir():
                shutil.move(each, folder)
        return git("rev-parse", "HEAD", cwd=folder), True
    with tempfile.TemporaryDirectory(prefix="peagen-fetch-") as temporary:
        new = Path(temporary) / "clone"
        clone(url, new)
        commit = resolve(new, url, ref)
        git("checkout", "--quiet", "--detach", commit, cwd=new)
        return commit, merge_tree(new, folder.resolve(), force=force)


def _check_out(folder: Path, url: str, ref: str | None) -> None:
    commit = resolve(folder, url, ref)
    branch = ref
    if ref in {None, "HEAD"}:
        branch = (git_says("symbolic-ref", "--short", "refs/remotes/origin/HEAD", cwd=folder) or "").partition("/")[2]
    if branch and git_says("rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}", cwd=folder):
        if git_says("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", cwd=folder) is None:
            git("checkout", "--quiet", "-b", branch, "--track", f"origin/{branch}", cwd=folder)
        else:
            git("checkout", "--quiet", branch, cwd=folder)
            # What somebody committed here is not thrown away.
            git("merge", "--quiet", "--ff-only", f"origin/{branch}", cwd=folder)
    else:
        git("checkout", "--quiet", "--detach", commit, cwd=folder)


def _fetch_storage(uri: str, folder: Path, *, force: bool) -> bool:
    from peagen.plugins.git_filters.artifacts import open_artifacts

    storage = open_artifacts(uri)
    with tempfile.TemporaryDirectory(prefix="peagen-fetch-") as temporary:
        storage.download_prefix("", temporary)
        if not any(Path(temporary).iterdir()):
            raise WorkspaceNotFoundError(f"there is nothing at {masked(uri)}")
        return merge_tree(Path(temporary), folder.resolve(), force=force)


def _add_sets(config: Config, options: FetchOptions) -> list[dict[str, Any]]:
    from peagen.handlers.sets_handler import Source, add_set, read_record

    added: list[dict[str, Any]] = []
    there = read_record()
    for entry in config.template_sets:
        if entry.name in there and not options.force:
            continue
        named = entry.bundle_file or entry.target or entry.name
        with tempfile.TemporaryDirectory(prefix="peagen-set-") as temporary:
            if entry.type == "git":
                url = git_url(named)
                clone(url, Path(temporary) / entry.name)
                commit = resolve(Path(temporary) / entry.name, url, entry.ref)
                git("checkout", "--quiet", "--detach", commit, cwd=Path(temporary) / entry.name)
                named = str(Path(temporary) / entry.name)
            elif entry.type in {"local", "bundle"} and config.path is not None:
                named = str(config.path.parent / Path(named).expanduser())
            bundle = Path(named) if entry.type == "bundle" else None
            source = Source(name=named, bundle=bundle, force=options.force, may_run_code=options.may_run_code)
            added += add_set(source)
    return added
