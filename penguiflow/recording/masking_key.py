"""The key of a project, by which secrets that are hidden can be compared."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_bytes, token_hex

__all__ = ["KEY_FILE", "key_beside", "project_key"]

KEY_FILE = "masking.key"


def key_beside(store: object) -> Path | None:
    """Where the key of a store's project is kept; None for a store that has no file, and no folder."""
    home = getattr(store, "home", None)
    if isinstance(home, Path):
        return home / KEY_FILE
    path = getattr(store, "path", None)
    return path.with_name(KEY_FILE) if isinstance(path, Path) else None


def project_key(path: Path) -> bytes:
    """The key of a project, made by whoever needs it first."""
    fresh = token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{token_hex(4)}")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(fresh)
            os.link(beside, path)  # whole, or not at all; the first one wins
        except FileExistsError:
            return path.read_bytes() or fresh
        finally:
            beside.unlink(missing_ok=True)
    except OSError:
        # Secrets are hidden all the same; they cannot be compared with those of other runs.
        return fresh
    return fresh
