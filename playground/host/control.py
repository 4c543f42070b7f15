"""What a supervisor and its worker say to each other: JSON lines over a private socket pair.

The token travels here, never in arguments or the environment. The end of the channel is the end of the worker.
"""

from __future__ import annotations

import select
import socket
import threading
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from playground.loader.limits import LOAD_TIMEOUT_S
from playground.protocol import CodeError, CodeFrame, Flows, Logs, ModuleInfo, encode

MAX_LINE_BYTES = 64 * 1024 * 1024
SEND_TIMEOUT_S = 5.0
BEAT_EVERY_S = 0.5
HOLD_S = 60.0


class Load(BaseModel):
    """Load a project. Sent once, after `Ready`; answered by `Loading` and `Loaded`."""

    type: Literal["load"] = "load"
    generation: int
    token: str
    """What clients have to show."""
    root: str
    home: str
    cwd: str
    targets: list[str]
    python_path: list[str] = Field(default_factory=list)
    """The entries of PYTHONPATH, which come after the project's own."""
    skip: dict[str, CodeError] = Field(default_factory=dict)
    """Modules not to import, by path, with why."""
    record: bool = True
    offline: bool = False
    """For a replay: nothing may connect, from the first import on."""
    hold_s: float = HOLD_S
    """How long stopped runs wait for a client when the last one that decides upon them is gone."""
    breakpoints: str | None = None
    """The folder whose breakpoints hold; the project's home by default."""
    timeout_s: float = LOAD_TIMEOUT_S
    """How long one module may take to import, or one factory to return."""


class Serve(BaseModel):
    """Accept clients from now on."""

    type: Literal["serve"] = "serve"


class Yield(BaseModel):
    """Accept no more clients; a newer generation does."""

    type: Literal["yield"] = "yield"


class Retire(BaseModel):
    """Accept neither clients nor runs; end when the runs are over or the grace has passed.

    The grace begins when no run is stopped any more.
    """

    type: Literal["retire"] = "retire"
    grace_s: float


class Stop(BaseModel):
    """Cancel the runs and end."""

    type: Literal["stop"] = "stop"


class Ready(BaseModel):
    """All of the host's own code is imported, and none of the user's."""

    type: Literal["ready"] = "ready"
    pid: int


class Loading(BaseModel):
    """This module comes next. Said before it is imported: should that end the process, it is known which one did."""

    type: Literal["loading"] = "loading"
    path: str


class StoreProblem(BaseModel):
    """Why runs cannot be recorded."""

    kind: str
    """Name of the class in `penguiflow.state.errors`."""
    message: str
    path: str | None = None
    found: int = 0
    supported: int = 0


class Loaded(BaseModel):
    """The project is loaded, as far as it could be."""

    type: Literal["loaded"] = "loaded"
    modules: list[ModuleInfo]
    files: dict[str, str]
    """Relative path to sha256 of every project source that was compiled."""
    helpers: list[str] = Field(default_factory=list)
    """Modules of folders that offer nothing because others import them."""
    ms: float
    store_problem: StoreProblem | None = None
    """Runs are to be recorded and cannot be. Without modules, it was found before any user code was loaded."""


class Imported(BaseModel):
    """A run imported project code that loading had not: the versions of the flows are others now."""

    type: Literal["imported"] = "imported"
    versions: dict[str, str]
    """By target."""
    files: dict[str, str]
    """As in `Loaded`."""


class Serving(BaseModel):
    """Clients are accepted."""

    type: Literal["serving"] = "serving"


class Yielded(BaseModel):
    """Clients are no longer accepted."""

    type: Literal["yielded"] = "yielded"


class Blocked(BaseModel):
    """The user's code holds its loop, or an import does not end; `ms` 0 says that it is over."""

    type: Literal["blocked"] = "blocked"
    ms: float
    frame: CodeFrame | None = None
    loading: str | None = None
    """Path of the module that is being loaded."""


class Beat(BaseModel):
    """A sign of life, again and again: it is missing while native code holds the interpreter."""

    type: Literal["beat"] = "beat"


class Held(BaseModel):
    """These runs have stopped, and wait for somebody to decide; told whenever that changes. Nobody ends them now."""

    type: Literal["held"] = "held"
    traces: list[str]


class ReloadAsked(BaseModel):
    """A client wants the code loaded again."""

    type: Literal["reload"] = "reload"


ToWorker = Load | Serve | Yield | Retire | Stop | Flows | Logs
FromWorker = Ready | Loading | Loaded | Imported | Serving | Yielded | Blocked | Beat | Held | ReloadAsked

_to_worker: TypeAdapter[ToWorker] = TypeAdapter(Annotated[ToWorker, Field(discriminator="type")])
_from_worker: TypeAdapter[FromWorker] = TypeAdapter(Annotated[FromWorker, Field(discriminator="type")])


def encode_line(message: BaseModel) -> bytes:
    """One message as a line."""
    return encode(message) + b"\n"


def decode_for_worker(line: bytes) -> ToWorker:
    """Read a line that a supervisor wrote. Raises `pydantic.ValidationError`."""
    return _to_worker.validate_json(line)


def decode_from_worker(line: bytes) -> FromWorker:
    """Read a line that a worker wrote. Raises `pydantic.ValidationError`."""
    return _from_worker.validate_json(line)


class ControlSender:
    """The worker's way to speak: from any thread, in whole lines, at once."""

    def __init__(self, control: socket.socket) -> None:
        self._socket = control
        self._lock = threading.Lock()

    def send(self, message: BaseModel) -> None:
        """Write one line; returns when the kernel has it. A supervisor that is gone or deaf is no error here."""
        data: Any = memoryview(encode_line(message))
        with self._lock:
            while data:
                try:
                    data = data[self._socket.send(data) :]
                except BlockingIOError:
                    _, writable, _ = select.select([], [self._socket], [], SEND_TIMEOUT_S)
                    if not writable:
                        return
                except OSError:
                    return
