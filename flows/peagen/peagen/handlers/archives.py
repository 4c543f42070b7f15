"""Archives are unpacked so that nothing of them lands elsewhere, and none is larger than it may be."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

from peagen.errors import PathEscape, PeagenError

_MAX_BYTES = 200_000_000
_MAX_FILES = 20_000


def is_archive(path: Path) -> bool:
    """Whether it is a zip (a wheel is one) or a tar."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or tar: files and folders; links and devices are left out.

    Raises:
        PathEscape: a name leads out of the folder.
        PeagenError: it is damaged, or too large.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                entries = [each for each in archive.infolist() if not each.is_dir()]
                _check_size(sum(each.file_size for each in entries), len(entries), path)
                for entry in entries:
                    target = _within(folder, entry.filename, path)
                    with archive.open(entry) as source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink)
        else:
            with tarfile.open(path) as archive:
                members = [each for each in archive if each.isfile()]
                _check_size(sum(each.size for each in members), len(members), path)
                for member in members:
                    target = _within(folder, member.name, path)
                    content = archive.extractfile(member)
                    assert content is not None
                    with content, target.open("wb") as sink:
                        shutil.copyfileobj(content, sink)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise PeagenError(f"it cannot be unpacked: {error}", where=str(path)) from None
    folder.mkdir(parents=True, exist_ok=True)


def _check_size(size: int, count: int, path: Path) -> None:
    if size > _MAX_BYTES or count > _MAX_FILES:
        raise PeagenError(f"it holds {count} files with {size} bytes, which is too much", where=str(path))


def _within(folder: Path, name: str, archive: Path) -> Path:
    relative = Path(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts or "\0" in name or not relative.parts:
        raise PathEscape(f"the archive {archive.name} has a file that would land elsewhere", where=name)
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
