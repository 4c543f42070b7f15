"""The folder that files are generated into: nothing leaves it, and no file is ever half written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from peagen.errors import PathEscape, WriteFailed

_TEMPORARY = ".peagen-tmp"
_MAX_SEGMENT_BYTES = 255 - len(_TEMPORARY) - 16  # the name of a file while it is written is longer
_MAX_PATH_BYTES = 3500
_MAX_SOURCE = 1 << 30  # bytes
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_GIT_SHORT_NAME = re.compile(r"git~\d+", re.IGNORECASE)


class Worktree:
    """A folder, and the names that may be written in it.

    `closed` are folders within it that nothing may be written to: a template set that is in use, so that
    what a model wrote is never taken for a template.
    """

    def __init__(self, root: Path, *, closed: Sequence[Path] = ()) -> None:
        self.root = root.resolve()
        self.closed = tuple(folder.resolve() for folder in closed)

    def path_of(self, name: str) -> Path:
        """Where the file `name` (relative, with slashes) is, symbolic links followed; `PathEscape` if it may not be."""
        segments = checked_segments(name)
        path = self.root.joinpath(*segments)
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as error:  # a link that leads to itself
            raise PathEscape(f"the path cannot be followed: {error}", where=name) from error
        if not resolved.is_relative_to(self.root):
            raise PathEscape(f"a symbolic link leads out of the work-tree, to {resolved}", where=name)
        if resolved != path:
            checked_segments(resolved.relative_to(self.root).as_posix())
        for folder in self.closed:
            if resolved.is_relative_to(folder):
                raise PathEscape(
                    "the file would be written into the template set that makes it",
                    where=name,
                    hint="What is generated must not become a template; let the ptree name another folder.",
                )
        return resolved

    def read(self, name: str) -> str | None:
        """The file's text (UTF-8, newlines as they are); None if there is no such file."""
        content = self.read_bytes(name)
        if content is None:
            return None
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise WriteFailed(f"the file is not UTF-8 (byte {error.start})", where=name) from error

    def read_bytes(self, name: str) -> bytes | None:
        """The file's content; None if there is no such file."""
        path = self.path_of(name)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise WriteFailed("there is something of that name that is no file", where=name)
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise WriteFailed(f"the file cannot be read: {error.strerror}", where=name) from error

    def digest(self, name: str) -> str | None:
        """The SHA-256 of the file's content, in hexadecimal; None if there is no such file."""
        content = self.read_bytes(name)
        return None if content is None else digest_of(content)

    def write(self, name: str, content: str | bytes, *, executable: bool | None = None) -> Path:
        """Put the file there, whole or not at all; folders are made as needed.

        A file that is there keeps its mode. `executable` sets or clears that bit; None leaves it.
        When this returns, the content is on the disk.
        """
        path = self.path_of(name)
        data = _encoded(content, name) if isinstance(content, str) else content
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                raise WriteFailed("there is something of that name that is no file", where=name)
            _write_new(temporary, data)
            _set_mode(temporary, path, executable)
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise WriteFailed(
                f"the file cannot be written: {error.strerror}",
                where=name,
                hint="Something of that name, or of a folder's name, may be in the way."
                if isinstance(error, FileExistsError | NotADirectoryError)
                else "",
            ) from error
        _sync_folder(path.parent)
        return path

    def remove(self, name: str) -> bool:
        """Take the file away, and folders that are empty then; False if there was none."""
        path = self.path_of(name)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise WriteFailed(f"the file cannot be removed: {error.strerror}", where=name) from error
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:
                break
        return True

    def sweep(self, names: Iterable[str]) -> list[Path]:
        """Take away what a run that was killed left half written next to `names`."""
        swept: list[Path] = []
        for folder in {self.path_of(name).parent for name in names}:
            for leftover in folder.glob(f".*{_TEMPORARY}"):
                with contextlib.suppress(OSError):
                    leftover.unlink()
                    swept.append(leftover)
        return swept


def digest_of(content: str | bytes) -> str:
    """The SHA-256 of a text (as UTF-8) or of bytes, in hexadecimal."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def file_sha(path: Path) -> str | None:
    """The hash of a file; None where there is none that could be a source.

    A repository's lock file says what is read: not devices, nor what a system shows as a file of no or endless size.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_SOURCE:
        return None
    if status.st_size == 0:
        return hashlib.sha256(b"").hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_segments(name: str) -> list[str]:
    """The parts of a file's name, `.` and double slashes left out; `PathEscape` for one that may not be written."""
    problem = _problem_of_name(name)
    if problem:
        raise PathEscape(problem, where=name.encode("unicode_escape").decode("ascii"))
    segments = [segment for segment in name.split("/") if segment not in {"", "."}]
    for segment in segments:
        problem = _problem_of_segment(segment)
        if problem:
            raise PathEscape(problem, where=name)
    if not segments:
        raise PathEscape("the name names no file", where=name or "(empty)")
    if segments[0].casefold().startswith((".peagen", "peagen.lock")):
        raise PathEscape("Peagen's own files and configuration are not for generated content", where=name)
    return segments


def _problem_of_name(name: str) -> str:
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in name):
        return "the name has a control character in it"
    if name.startswith("/"):
        return "the name must be relative to the work-tree"
    if "\\" in name:
        return "the name has a backslash in it; folders are separated by slashes"
    if name.endswith(("/", "/.")):
        return "the name is that of a folder"
    if len(os.fsencode(name)) > _MAX_PATH_BYTES:
        return f"the name is longer than {_MAX_PATH_BYTES} bytes"
    return ""


def _problem_of_segment(segment: str) -> str:
    if segment == "..":
        return "the name leads out of the folder ('..')"
    if segment.endswith((".", " ")):
        return f"{segment!r} ends with a dot or a space, which some systems drop"
    # Some file systems ignore invisible characters, so `.g\u200cit` is `.git` there.
    visible = "".join(char for char in segment if unicodedata.category(char) != "Cf").casefold()
    if visible.split(":")[0] == ".git" or _GIT_SHORT_NAME.fullmatch(visible):
        return "git's own folder is not for generated files"
    if len(segment) > 1 and segment[1] == ":" and segment[0].isalpha():
        return f"{segment!r} names a drive"
    if _DEVICES.fullmatch(segment):
        return f"{segment!r} is the name of a device"
    if len(segment.encode()) > _MAX_SEGMENT_BYTES:
        return f"a part of the name is longer than {_MAX_SEGMENT_BYTES} bytes"
    return ""


def _encoded(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise WriteFailed(f"the text has a character that UTF-8 has not (at {error.start})", where=name) from error


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _set_mode(temporary: Path, path: Path, executable: bool | None) -> None:
    mode = stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
    if executable is not None:
        # Whoever may read it may run it, as chmod +x does.
        mode = mode | (mode & 0o444) >> 2 if executable else mode & ~0o111
    temporary.chmod(mode)


def _sync_folder(folder: Path) -> None:
    """Have the new name itself on the disk; not every file system can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
