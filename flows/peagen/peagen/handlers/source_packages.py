"""`[[source_packages]]`: what a workspace needs besides, with the checksums that were seen first."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peagen.errors import PathEscape, PeagenError, WorkspaceNotFoundError
from peagen.handlers.git import git
from peagen.handlers.repository import clone, git_url, resolve
from peagen.handlers.trees import add_missing, tree_checksum

if TYPE_CHECKING:
    from peagen.config.models import SourcePackageEntry

LOCK_NAME = "source_packages.lock"


def fetch_packages(packages: Sequence[SourcePackageEntry], folder: Path, *, force: bool) -> list[dict[str, Any]]:
    """Source packages go to their `dest`; the lock file notes what each is, and a change of it is an error."""
    lock = folder / LOCK_NAME
    try:
        known = json.loads(lock.read_text("utf-8"))
        if not isinstance(known, dict):
            raise ValueError
    except FileNotFoundError:
        known = {}
    except ValueError:
        raise PeagenError(
            "it is no JSON object", where=str(lock), hint="delete it to note the checksums anew"
        ) from None
    told = []
    for package in packages:
        place = (folder / package.dest).resolve()
        if not place.is_relative_to(folder.resolve()) or place == folder.resolve():
            raise PathEscape("a source package's dest leads out of the workspace", where=package.dest)
        with tempfile.TemporaryDirectory(prefix="peagen-source-") as temporary:
            tree = _package_tree(package, Path(temporary))
            checksum = tree_checksum(tree)
            wanted = package.checksum or (None if force else known.get(package.dest))
            if wanted is not None and wanted.removeprefix("sha256:") != checksum:
                raise PeagenError(
                    f"its checksum is {checksum}, not {wanted}",
                    where=package.dest,
                    hint="--force takes what is there now",
                )
            known[package.dest] = checksum
            told.append({"dest": package.dest, "checksum": checksum, "updated": add_missing(tree, place)})
    lock.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return told


def _package_tree(package: SourcePackageEntry, temporary: Path) -> Path:
    named = package.uri or package.path or ""
    tree = temporary / "tree"
    if package.type == "git":
        url = git_url(named)
        clone(url, tree)
        git("checkout", "--quiet", "--detach", resolve(tree, url, package.ref), cwd=tree)
    elif package.type == "bundle":
        from peagen.handlers.archives import is_archive, unpack

        bundle = Path(named).expanduser()
        if not bundle.is_file() or not is_archive(bundle):
            raise WorkspaceNotFoundError(f"there is no archive {named}", where=package.dest)
        unpack(bundle, tree)
    elif package.type == "uri" or "://" in named:
        tree.mkdir()
        from peagen.handlers.fetch_handler import fetch_one

        fetch_one(named, tree)
    else:
        tree = Path(named).expanduser().resolve()
    within = package.path if package.type == "git" else None
    found = (tree / within).resolve() if within else tree
    if not found.is_dir() or not found.is_relative_to(tree.resolve()):
        raise WorkspaceNotFoundError(f"there is no folder {within or named}", where=package.dest)
    return found
