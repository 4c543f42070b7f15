"""Which of the project's files changed: code, and what flows read beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from watchfiles import Change, awatch

from playground.loader.targets import IGNORED_FOLDERS
from playground.loader.version import hash_source

STEP_MS = 20
"""Quiet time after a change before it is told."""
DEBOUNCE_MS = 200
MAX_FOLDERS = 4000
"""Each watched folder costs the system a handle."""
RETRY_S = 0.5

ASSET_SUFFIXES = frozenset(
    {".csv", ".html", ".j2", ".jinja", ".jinja2", ".json", ".md", ".prompt", ".sql", ".toml", ".txt", ".yaml", ".yml"}
)


class Watcher:
    """Tells when the content of project files changes. Folders of dependencies, caches and state are left out."""

    def __init__(self, root: Path, extra: Sequence[Path], on_change: Callable[[set[Path]], None]) -> None:
        """`extra` are folders outside of `root` with files that were named."""
        self._root = root
        self._extra = [folder for folder in extra if not folder.is_relative_to(root)]
        self._on_change = on_change
        self._hashes: dict[Path, str | None] = {}
        self.asset_folders: set[Path] = set()
        """Folders of modules: other files than code matter only there."""

    def remember(self, path: Path, content_hash: str) -> None:
        """This is what the newest load read."""
        self._hashes[path] = content_hash

    async def watch(self) -> None:
        """Watch until cancelled. Raises `OSError` when the system has no room for more watches."""
        folders = await asyncio.to_thread(self._folders)
        while True:
            try:
                await self._watch_folders(folders)
            except FileNotFoundError:  # a folder went away while it was about to be watched
                await asyncio.sleep(RETRY_S)
            before, folders = folders, await asyncio.to_thread(self._folders)
            arrived = {file for folder in folders - before for file in folder.glob("*.py")}
            self._tell(arrived)

    async def _watch_folders(self, folders: set[Path]) -> None:
        """Watch a fixed set of folders until one of them comes or goes."""
        watching = awatch(
            *folders,
            watch_filter=lambda change, path: self._matters(Path(path), folders),
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            recursive=False,
        )
        async with contextlib.aclosing(watching) as batches:
            async for batch in batches:
                paths = {Path(path) for _, path in batch}
                self._tell({path for path in paths if path not in folders})
                if any(_is_folder_change(change, Path(path), folders) for change, path in batch):
                    return

    def _matters(self, path: Path, folders: set[Path]) -> bool:
        if path.suffix == ".py" or path in folders:
            return True
        if path.suffix in ASSET_SUFFIXES:
            return path.parent in self.asset_folders or path == self._root / "pyproject.toml"
        return path.is_dir() and _is_watched(path)

    def _tell(self, paths: set[Path]) -> None:
        changed = {path for path in paths if self._has_changed(path)}
        if changed:
            self._on_change(changed)

    def _has_changed(self, path: Path) -> bool:
        if path.exists() and not path.is_file():
            return False  # a folder; or a pipe, which would keep its reader waiting
        try:
            current: str | None = hash_source(path.read_bytes())
        except OSError:
            current = None
        known = path in self._hashes
        before = self._hashes.get(path)
        self._hashes[path] = current
        return not known or before != current

    def _folders(self) -> set[Path]:
        """The folders to watch: near ones first, since there may be too many."""
        found = dict.fromkeys([*self._extra, self._root])
        waiting = deque(found)
        while waiting and len(found) < MAX_FOLDERS:
            with contextlib.suppress(OSError), os.scandir(waiting.popleft()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and _is_watched(Path(entry.path)):
                        found[Path(entry.path)] = None
                        waiting.append(Path(entry.path))
        return set(list(found)[:MAX_FOLDERS])


def _is_watched(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in IGNORED_FOLDERS:
        return False
    return not (folder / "pyvenv.cfg").exists()


def _is_folder_change(change: Change, path: Path, folders: set[Path]) -> bool:
    return path in folders or (change == Change.added and path.is_dir())
