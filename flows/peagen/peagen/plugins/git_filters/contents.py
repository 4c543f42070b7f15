"""What all storages have in common: whole folders, and contents by their hash."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from peagen.plugins.errors import StorageFailed

MAX_CONTENT = 2**31  # bytes that `smudge` takes into memory
_OID = re.compile(r"sha256:([0-9a-f]{64})\s*")


def checked_key(key: str, *, prefix: bool = False) -> str:
    """A key, as it is. Raises `StorageFailed` for one that leads elsewhere: absolute, with `..`, or with a NUL."""
    parts = PurePosixPath(key).parts
    if "\0" in key or "\\" in key or key.startswith("/") or ".." in parts or (not prefix and not parts):
        raise StorageFailed(f"{key!r} is no key of a file", hint="A key is a relative path with slashes.")
    return key


class ContentStore:
    """Folders and contents, upon `upload`, `download`, `iter_prefix` and `has`."""

    @property
    def root_uri(self) -> str:
        """Where it is, without secrets; ends in a slash."""
        raise NotImplementedError

    def upload(self, key: str, data: BinaryIO) -> str:
        """Keep a file; where it is now."""
        raise NotImplementedError

    def download(self, key: str) -> BinaryIO:
        """Open a file."""
        raise NotImplementedError

    def iter_prefix(self, prefix: str) -> Iterator[str]:
        """The keys that begin so, in order."""
        raise NotImplementedError

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        raise NotImplementedError

    def upload_dir(self, folder: str | Path, *, prefix: str = "") -> str:
        """Keep all files of a folder under a prefix; links are left out. Returns where that is."""
        top = Path(folder)
        if not top.is_dir():
            raise StorageFailed("there is no such folder", where=str(folder))
        under = checked_key(prefix, prefix=True).strip("/")
        for path in sorted(top.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = path.relative_to(top).as_posix()
                with path.open("rb") as data:
                    self.upload(f"{under}/{name}" if under else name, data)
        return f"{self.root_uri}{under}/" if under else self.root_uri

    def download_prefix(self, prefix: str, folder: str | Path) -> None:
        """Write all files under a prefix into a folder, by their names below it."""
        under, top = prefix.strip("/"), Path(folder)
        for key in self.iter_prefix(f"{under}/" if under else ""):
            name = checked_key(key[len(under) :].lstrip("/") if under else key)
            target = top / name
            if not target.resolve().is_relative_to(top.resolve()):
                raise StorageFailed(f"{key!r} leads out of the folder", where=str(top))
            with self.download(key) as data:
                write_whole(target, data)

    def clean(self, data: bytes) -> str:
        """Keep a content; `sha256:<hex>`, which stands in its place in git. One that is there is not sent again."""
        digest = hashlib.sha256(data).hexdigest()
        key = _key_of(digest)
        if not self.has(key):
            self.upload(key, io.BytesIO(data))
        return f"sha256:{digest}"

    def smudge(self, oid: str) -> bytes:
        """The content that is kept under `sha256:<hex>`. Raises `StorageFailed` for another content, or none."""
        found = _OID.fullmatch(oid)
        if found is None:
            raise StorageFailed(f"{oid[:80]!r} is no sha256:<hex>")
        with self.download(_key_of(found[1])) as kept:
            data = kept.read(MAX_CONTENT + 1)
        if len(data) > MAX_CONTENT or hashlib.sha256(data).hexdigest() != found[1]:
            raise StorageFailed(f"what is kept as {oid.strip()} is another content", where=self.root_uri)
        return data


def write_whole(path: Path, data: BinaryIO) -> None:
    """Write a file whole or not at all. Raises `StorageFailed`."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".peagen-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(data, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise StorageFailed(f"it cannot be written: {error.strerror}", where=str(path)) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _key_of(digest: str) -> str:
    return f"sha256/{digest[:2]}/{digest}"
