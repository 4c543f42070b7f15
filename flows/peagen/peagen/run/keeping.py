"""What becomes of files once they are written: commits, and copies elsewhere."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence

from peagen.core.lock import LOCK_NAME
from peagen.core.ptree import slug
from peagen.core.worktree import Worktree
from peagen.errors import GitError, PeagenError
from peagen.plugins.protocols import Storage, Vcs
from peagen.run.options import Report


def commit(vcs: Vcs, worktree: Worktree, project: str, written: Sequence[str], report: Report, *, push: bool) -> None:
    """Commit what was written for a project. A failure is told in the report; the files are there."""
    names = [*written, *([LOCK_NAME] if (worktree.root / LOCK_NAME).exists() else [])]
    try:
        made = vcs.commit(names, f"process {project}")
        if made is None:
            return
        report.commit = made
        report.commits.append(made)
        report.oids += [_blob_oid(worktree.path_of(name).read_bytes()) for name in written]
        if push:
            vcs.push()
    except GitError as error:
        report.incomplete = True
        report.warnings.append(f"what was written for {project} is not committed or pushed: {error.report()}")


def upload(storage: Storage, worktree: Worktree, project: str, names: Sequence[str], report: Report) -> None:
    """Copy files to `projects/<project>/runs/<time>-<8 hex digits>/`. A failure is told in the report."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    prefix = f"projects/{slug(project)}/runs/{stamp}-{secrets.token_hex(4)}"
    try:
        for name in names:
            with worktree.path_of(name).open("rb") as file:
                storage.upload(f"{prefix}/{name}", file)
    except (PeagenError, OSError) as error:
        told = error.report() if isinstance(error, PeagenError) else str(error)
        report.incomplete = True
        report.warnings.append(f"not all files of {project} are copied: {told}")


def _blob_oid(content: bytes) -> str:
    """As git names the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
