"""The lock file: what was generated, from what, and by whom. It is committed with the project.

`peagen.lock` is text with one JSON object on each line, sorted, so that two branches merge like any source: the first
line tells the format, then a line for each template set, then one for each file. While a run is at work, what it wrote
is also in a journal under `.peagen/`: a run that is killed leaves nothing that the next one does not know of.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from peagen.core.worktree import file_sha
from peagen.errors import LockFailed, WriteFailed

LOCK_NAME = "peagen.lock"
FORMAT = 1
STATE_DIR = ".peagen"
_HEADER = "peagen.lock"
_JOURNAL = "journal.jsonl"
_RUNNING = "run.lock"
_KEYS = "keys.json"
_MARKERS = re.compile(r"^(<{7}|={7}|>{7})", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class LockEntry:
    """What made one file. Hashes are SHA-256, in hex."""

    project: str
    template_set: str
    type: str
    """COPY or GENERATE."""
    inputs: str
    """Of what went in: the record, and the files that were used."""
    output: str
    """Of what was generated last; the base of a three-way merge."""
    templates: tuple[str, ...] = ()
    """Template files that were used, relative to the set's folder."""
    data: tuple[str, ...] = ()
    """Files that were included as text, relative to the work-tree."""
    kept: str | None = None
    """Of the file as a person changed it and a run left it; None where nobody did."""
    pending: str | None = None
    """Of what lies beside the file as `<name>.peagen-new`; None where there is no conflict."""
    prompt: str | None = None
    model: str | None = None
    """`provider/model`."""
    settings: dict[str, Any] | None = None
    """With which it was asked: `temperature`, `max_tokens`."""
    answer: str | None = None
    tokens: tuple[int, int] | None = None
    """Of the prompt and of the answer, when it was asked for."""
    key: str = ""
    """Of everything that a file may depend on, the whole project among it. Only this machine keeps it: in the lock file
    each change of a payload would touch every line."""

    def to_line(self, name: str) -> dict[str, Any]:
        """As it is written: what says nothing is left out."""
        said = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "key"}
        return {"file": name, **{key: value for key, value in said.items() if value not in (None, ())}}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> LockEntry:
        """Read it again; what a later version may have added is passed over. Raises `KeyError`, `TypeError`."""
        known = {each.name: line[each.name] for each in fields(cls) if each.name in line}
        for name in ("templates", "data", "tokens"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known)


@dataclass
class LockFile:
    """All that is known of what was generated."""

    files: dict[str, LockEntry] = field(default_factory=dict)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name of the template set: `version` and `digest`."""

    def to_text(self) -> str:
        """The file's text: the same for the same content, whatever the order it came in."""
        lines: list[dict[str, Any]] = [{_HEADER: FORMAT}]
        lines += [{"template_set": name, **self.sets[name]} for name in sorted(self.sets)]
        lines += [self.files[name].to_line(name) for name in sorted(self.files)]
        return "".join(json.dumps(line, ensure_ascii=False, separators=(", ", ": ")) + "\n" for line in lines)

    @classmethod
    def from_text(cls, text: str, where: str = LOCK_NAME) -> LockFile:
        """Read it. Raises `LockFailed`."""
        if _MARKERS.search(text):
            raise LockFailed(
                "the lock file has the marks of a merge that is not resolved",
                where=where,
                hint="Keep the lines of both sides, drop the marks and run again; a line too many does no harm.",
            )
        lock = cls()
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                said = json.loads(line)
                if _HEADER in said:
                    _check_format(said[_HEADER], where)
                elif "template_set" in said and "file" not in said:
                    lock.sets[said["template_set"]] = {key: said[key] for key in said if key != "template_set"}
                else:
                    lock.files[said["file"]] = LockEntry.from_line(said)
            except (ValueError, KeyError, TypeError) as error:
                raise LockFailed(
                    f"the lock file cannot be read: {error}",
                    where=f"{where}:{number}",
                    hint="Take it from version control again, or delete it: then every file is looked at anew.",
                ) from error
        return lock


def _check_format(found: Any, where: str) -> None:
    if found != FORMAT:
        raise LockFailed(
            f"the lock file is of format {found!r}; this Peagen knows {FORMAT}", where=where, hint="Update Peagen."
        )


class LockStore:
    """The lock file of one work-tree, and the journal of the run that is at work there."""

    def __init__(self, root: Path) -> None:
        self.path = root / LOCK_NAME
        self.state = root / STATE_DIR
        self._journal = self.state / _JOURNAL
        self._keys = self.state / _KEYS

    def load(self) -> LockFile:
        """What is known, the journal of a run that was killed included. Raises `LockFailed`."""
        try:
            lock = LockFile.from_text(self.path.read_text("utf-8"), str(self.path))
        except FileNotFoundError:
            lock = LockFile()
        except (OSError, UnicodeDecodeError) as error:
            raise LockFailed(f"the lock file cannot be read: {error}", where=str(self.path)) from error
        self._load_keys(lock)
        with contextlib.suppress(FileNotFoundError):
            for line in self._journal.read_text("utf-8", errors="replace").splitlines():
                # The last line may be half of one.
                with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                    said = json.loads(line)
                    entry = LockEntry.from_line(said)
                    # It is noted before it is written; a run that was killed in between did not get to write it.
                    if file_sha(self.path.parent / said["file"]) in {entry.output, entry.kept} - {None}:
                        lock.files[said["file"]] = entry
        return lock

    def _load_keys(self, lock: LockFile) -> None:
        """Keys count for the very entries that they were kept with: another branch may have other ones."""
        try:
            known = json.loads(self._keys.read_text("utf-8"))
        except (OSError, ValueError):
            return
        for name, entry in lock.files.items():
            about, key = known.get(name, ("", ""))
            if about == _about(name, entry):
                lock.files[name] = replace(entry, key=key)

    def was_interrupted(self) -> bool:
        """Whether a run did not come to its end."""
        return self._journal.exists()

    def note(self, name: str, entry: LockEntry) -> None:
        """Write into the journal that `name` is about to be what `entry` says."""
        prepare_state(self.state)
        line = json.dumps({**entry.to_line(name), "key": entry.key}, ensure_ascii=False) + "\n"
        with _told(self._journal), self._journal.open("ab") as journal:
            journal.write(line.encode())

    def save(self, lock: LockFile) -> bool:
        """Write the file, if its content is another one, and drop the journal. Returns whether it was written."""
        text = lock.to_text().encode()
        try:
            before: bytes | None = self.path.read_bytes()
        except FileNotFoundError:
            before = None
        changed = text != before and not (before is None and not lock.files)
        if changed:
            prepare_state(self.state)
            replace_file(self.path, text, by=self.state, sync=True)
        self._save_keys(lock)
        with contextlib.suppress(FileNotFoundError):
            self._journal.unlink()
        return changed

    def _save_keys(self, lock: LockFile) -> None:
        known = {name: [_about(name, entry), entry.key] for name, entry in sorted(lock.files.items()) if entry.key}
        text = json.dumps(known, ensure_ascii=False, indent=0).encode()
        if known and (not self._keys.exists() or self._keys.read_bytes() != text):
            prepare_state(self.state)
            replace_file(self._keys, text)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only run that writes here. Raises `LockFailed` where there is another."""
        _check_links(self.state)
        prepare_state(self.state)
        with contextlib.ExitStack() as stack:
            with _told(self.state):
                file = stack.enter_context((self.state / _RUNNING).open("ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LockFailed(
                    "another run is at work in this work-tree",
                    where=str(self.state.parent),
                    hint="Wait until it is done.",
                ) from error
            yield


def _about(name: str, entry: LockEntry) -> str:
    return hashlib.sha256(json.dumps(entry.to_line(name), sort_keys=True).encode()).hexdigest()


def _check_links(state: Path) -> None:
    """A repository may bring the folder with it, and links in it: nothing is written where those lead."""
    for path in (state, *_entries(state), *_entries(state / "cache")):
        if path.is_symlink():
            raise LockFailed(
                "Peagen keeps nothing behind a link",
                where=str(path),
                hint="Delete it, unless you know what it is for; what is kept there can be made again.",
            )


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def prepare_state(folder: Path) -> None:
    """Make the folder for what is kept between runs; git is told to leave it alone."""
    if folder.is_dir() and (folder / ".gitignore").exists():
        return
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), (folder / ".gitignore").open("x") as file:
            file.write("*\n")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk refuses is an error of one message."""
    try:
        yield
    except OSError as error:
        raise WriteFailed(f"it cannot be written: {error.strerror or error}", where=str(path)) from error


def replace_file(path: Path, content: bytes, *, by: Path | None = None, sync: bool = False) -> None:
    """Write a file so that whoever reads it sees the old or the new content, never a part.

    `by` is the folder where it is until it is whole; its own by default. With `sync` that holds when the power fails,
    too, which takes longer. Several may write the same at once.
    """
    beside = (by or path.parent) / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        with _told(path):
            with beside.open("wb") as file:
                file.write(content)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def resolved(entry: LockEntry, output: str, kept: str) -> LockEntry:
    """The entry once a person has settled a conflict by hand: what was offered is the base of what they made of it."""
    return replace(entry, output=output, kept=None if kept == output else kept, pending=None)
