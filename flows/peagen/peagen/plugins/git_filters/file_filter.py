"""Artifacts in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from peagen.plugins.errors import StorageFailed
from peagen.plugins.git_filters.contents import ContentStore, checked_key, write_whole


class FileFilter(ContentStore):
    """Keeps files below one folder, which it makes when it first writes."""

    def __init__(self, output_dir: str | Path = "./peagen_artifacts") -> None:
        self.folder = Path(output_dir).expanduser().absolute()

    def __repr__(self) -> str:
        return f"FileFilter({str(self.folder)!r})"

    @classmethod
    def from_uri(cls, uri: str) -> FileFilter:
        """`file:///absolute/folder`, `file:///./relative`, `file://relative`, the same with `dir:`, or a path."""
        parts = urlsplit(uri)
        if parts.scheme not in ("file", "dir"):
            return cls(uri)
        path = unquote(f"{parts.netloc}{parts.path}")
        if path.startswith(("/./", "/../")) or path in ("/.", "/.."):
            path = path.lstrip("/")
        return cls(path or ".")

    @property
    def root_uri(self) -> str:
        """Where it is; ends in a slash."""
        return f"{self.folder.as_uri()}/"

    def upload(self, key: str, data: BinaryIO) -> str:
        """Keep a file; where it is now."""
        path = self._path(key)
        write_whole(path, data)
        return path.as_uri()

    def download(self, key: str) -> BinaryIO:
        """Open a file."""
        path = self._path(key)
        try:
            return path.open("rb")
        except OSError as error:
            raise StorageFailed(f"{key!r} cannot be read: {error.strerror}", where=self.root_uri) from None

    def iter_prefix(self, prefix: str) -> Iterator[str]:
        """The keys that begin so, in order."""
        checked_key(prefix, prefix=True)
        # A prefix may end within a name: what is above it is looked through.
        top = self.folder / (prefix if prefix.endswith("/") else str(Path(prefix).parent))
        keys = (path.relative_to(self.folder).as_posix() for path in top.rglob("*") if path.is_file())
        yield from sorted(key for key in keys if key.startswith(prefix))

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        path = self.folder / checked_key(key)
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise StorageFailed(f"{key!r} leads out of the folder", where=self.root_uri)
        return path
