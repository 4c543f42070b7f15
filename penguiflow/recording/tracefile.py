"""A trace as one file: to send to a colleague, to keep beside a bug report, to read on another machine.

The file is gzip; unpacked it is lines of JSON: a header (format, version, trace id, how much of what follows), every
event with all its payloads, without the trace's id, then the checksum of all before it. The same trace gives the same
bytes. Secrets are masked in what is stored, and so they are here.

Whoever reads trusts nothing: sizes are bounded while they are unpacked, every event is looked at, and nothing counts
until the checksum was right.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import SchemaValidator, core_schema, from_json, to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.lines import trace_field
from penguiflow.recording.text import clean_text
from penguiflow.state.errors import StoreError, StoreNotWritable, StoreTooNew, StoreUnreadable

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceStore

__all__ = ["VERSION", "TraceFile", "Written", "is_trace_file", "write_trace_file"]

FORMAT = "penguiflow-trace"
VERSION = 1
MAX_LINE_BYTES = 40 * 1024 * 1024
"""An event has a payload of at most 16 MB, an edit two."""
FREE_BYTES = 64 * 1024 * 1024
MAX_RATIO = 200
"""A file may unpack to `FREE_BYTES`, and to so many times its size beyond that: traces pack to a tenth."""
MAX_ID_CHARS = 500
_PAGE = 512
_PIECE = 64 * 1024
_UNPACKED_AT_ONCE = 1024 * 1024
_MAX_EDGES = 1_000_000
"""Of the bytes of `kind`, `name` and ids in one line."""
_GZIP = b"\x1f\x8b"
_DATA = b',"data":'
_INT64 = 1 << 63


class _Header(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    format: Literal["penguiflow-trace"]
    version: Annotated[int, Field(ge=1)]
    penguiflow: Annotated[str, Field(max_length=100)] = ""
    trace_id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
    events: Annotated[int, Field(ge=1, lt=_INT64)]


def _text(longest: int) -> core_schema.CoreSchema:
    return core_schema.str_schema(strict=True, max_length=longest)


def _integer(least: int) -> core_schema.CoreSchema:
    return core_schema.int_schema(strict=True, ge=least, lt=_INT64)


_HEAD_FIELDS = {
    "seq": _integer(0),
    "epoch": _integer(0),
    "span_id": _text(MAX_ID_CHARS),
    "parent_id": core_schema.nullable_schema(_text(MAX_ID_CHARS)),
    "ts": core_schema.float_schema(ge=0, lt=1e12, allow_inf_nan=False),
    "offset_ns": _integer(-_INT64),
    "kind": _text(200),
    "name": _text(_MAX_EDGES),
}
_read_head = SchemaValidator(
    core_schema.typed_dict_schema(
        {name: core_schema.typed_dict_field(schema) for name, schema in _HEAD_FIELDS.items()}, extra_behavior="forbid"
    )
).validate_json
# Parses all of an object and builds nothing from it.
_check_object = SchemaValidator(core_schema.typed_dict_schema({}, extra_behavior="ignore")).validate_json


class Written(NamedTuple):
    """What went into a file."""

    events: int
    bytes: int
    """Of the file."""


async def write_trace_file(store: TraceStore, trace_id: str, path: Path, *, overwrite: bool = False) -> Written:
    """Write a trace that has ended; the file appears whole or not at all.

    Raises `FileExistsError` (unless `overwrite`), `StoreNotWritable`, `StoreError` for a trace that is running.
    """
    trace = await store.get_trace(trace_id)
    if trace is None or trace.status == "running":
        raise StoreError(f"trace {trace_id} is not over: it can be exported when it is")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "penguiflow": version("penguiflow"),
        "trace_id": trace_id,
        "events": trace.events,
    }
    with _appearing(path, overwrite=overwrite) as file:
        lines = _Lines(file)
        lines.write(to_json(header))
        await _write_events(store, trace_id, trace.events, lines)
        lines.finish()
        size = file.tell()
    return Written(trace.events, size)


@contextmanager
def _appearing(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write that gets its name when all is well. Raises `FileExistsError` and `StoreNotWritable`."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StoreNotWritable(f"cannot write {path}: {error.strerror or error}", path=str(path)) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


async def _write_events(store: TraceStore, trace_id: str, events: int, lines: _Lines) -> None:
    field = trace_field(trace_id)
    after = -1
    while after + 1 < events:
        page = await store.load_event_bytes(trace_id, after=after, limit=min(_PAGE, events - after - 1))
        if not page:
            raise StoreError(f"trace {trace_id} ended before event {events - 1}")
        for line in page:
            lines.write(line.replace(field, b"", 1))
        after += len(page)


class _Lines:
    """Packs lines, and counts them into the checksum."""

    def __init__(self, file: BinaryIO) -> None:
        # Neither name nor time, so that the same trace gives the same bytes.
        self._packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
        self._sum = sha256()

    def write(self, line: bytes) -> None:
        line += b"\n"
        self._sum.update(line)
        self._packed.write(line)

    def finish(self) -> None:
        self._packed.write(_last_line(self._sum.hexdigest()))
        self._packed.close()


def _last_line(checksum: str) -> bytes:
    return to_json({"sha256": checksum}) + b"\n"


def is_trace_file(path: Path) -> bool:
    """Whether the file looks as if it were one: it is packed as they are."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(2) == _GZIP
    except OSError:
        return False


class TraceFile:
    """Reads a trace file, once, from front to end: `records()`, then `finish()`.

    Nothing that it gives is to be trusted before `finish()` returned: it proves that the file is whole.
    Every method raises `StoreUnreadable` for what is damaged, cut off or too large, and opening it `StoreTooNew`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sum = sha256()
        self.events_sum = sha256()
        """Of the events read so far: the same for the same events under another id."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise self._unfit("is no file")
            self._lines = _unpacked_lines(path, FREE_BYTES + MAX_RATIO * found.st_size)
            header = next(self._lines, b"")
        except (_Damaged, OSError, zlib.error) as error:
            raise self._unreadable(error) from error
        self._sum.update(header)
        self.header = self._read_header(header)
        self.trace_id = self.header.trace_id
        self.events = self.header.events

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lines.close()

    def records(self, trace_id: str | None = None) -> Iterator[EventRecord]:
        """The events in order, under the file's trace id or another one."""
        name = clean_text(trace_id or self.trace_id)
        for seq in range(self.events):
            line = self._line()
            self.events_sum.update(line)
            head, data = self._parse(line, seq)
            yield EventRecord(
                seq,
                head["epoch"],
                name,
                head["span_id"],
                head["parent_id"],
                head["ts"],
                head["offset_ns"],
                head["kind"],
                head["name"],
                data,
            )

    def finish(self) -> None:
        """The last word: the checksum is right, and nothing follows."""
        line = self._next()
        if line != _last_line(self._sum.hexdigest()):
            raise self._unfit("is damaged or cut off: its checksum is wrong")
        if self._next():
            raise self._unfit("is damaged: something follows its end")

    def _next(self) -> bytes:
        """The next line; empty when there is none."""
        try:
            return next(self._lines, b"")
        except (_Damaged, OSError, zlib.error) as error:
            raise self._unreadable(error) from error

    def _line(self) -> bytes:
        line = self._next()
        if not line:
            raise self._unfit("is damaged or cut off: events are missing")
        self._sum.update(line)
        return line

    def _parse(self, line: bytes, seq: int) -> tuple[dict[str, Any], bytes]:
        cut = line.find(_DATA)
        data = line[cut + len(_DATA) : -2]
        try:
            if cut < 0 or line[-2:] != b"}\n":
                raise _Damaged("it has no data")
            head: dict[str, Any] = _read_head(line[:cut] + b"}")
            if head["seq"] != seq:
                raise _Damaged(f"its seq is {head['seq']}")
            _check_object(data)
        except (_Damaged, ValueError) as error:
            raise self._unfit(f"is damaged: event {seq} cannot be read ({_reason(error)})") from error
        return head, data

    def _read_header(self, line: bytes) -> _Header:
        try:
            value = from_json(line)
            if not isinstance(value, dict) or value.get("format") != FORMAT:
                raise _Damaged("it does not begin as one")
            found = value.get("version")
            if isinstance(found, int) and found > VERSION:
                raise StoreTooNew(
                    f"{self.path} was written by a later version of penguiflow (format {found}; this one reads"
                    f" {VERSION}): upgrade to read it",
                    path=str(self.path),
                    found=found,
                    supported=VERSION,
                )
            return _Header.model_validate(value)
        except (_Damaged, ValueError) as error:
            self._lines.close()
            raise self._unfit(f"is no trace file ({_reason(error)})") from error

    def _unreadable(self, error: Exception) -> StoreUnreadable:
        if isinstance(error, StoreUnreadable):
            return error
        if isinstance(error, OSError):
            return StoreUnreadable(f"cannot read {self.path}: {error.strerror or error}", path=str(self.path))
        return self._unfit(f"is damaged or no trace file ({_reason(error)})")

    def _unfit(self, what: str) -> StoreUnreadable:
        return StoreUnreadable(f"{self.path} {what}", path=str(self.path))


class _Damaged(Exception):
    """What is wrong with a file, to be told with its name."""


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return str(error)[:200]


def _unpacked_lines(path: Path, most: int) -> Generator[bytes, None, None]:
    """Lines with their ends, as the file is unpacked; raises `_Damaged`, `zlib.error` and `OSError`."""
    parts: list[bytes] = []
    length = total = 0
    for piece in _unpacked(path):
        total += len(piece)
        if total > most:
            raise _Damaged("it unpacks to far more than a trace of its size would")
        *whole, rest = piece.split(b"\n")
        for line in whole:
            yield b"".join((*parts, line, b"\n")) if parts else line + b"\n"
            parts.clear()
            length = 0
        if rest:
            parts.append(rest)
            length += len(rest)
            if length > MAX_LINE_BYTES:
                raise _Damaged(f"it has a line of more than {MAX_LINE_BYTES} bytes")
    if parts:
        raise _Damaged("its last line has no end")


def _unpacked(path: Path) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or file.read(_PIECE)
            if not packed:
                raise _Damaged("it is cut off")
            piece = unpacker.decompress(packed, _UNPACKED_AT_ONCE)
            if piece:
                yield piece
        if unpacker.unused_data or file.read(1):
            raise _Damaged("something follows its end")
