"""What goes with a message beside its envelope, and what a caller is told at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from penguiflow.bus.codec import FORMAT
from penguiflow.bus.errors import CannotRead
from penguiflow.bus.protocol import BusMessage
from penguiflow.distributed.names import bus_id
from penguiflow.errors import FlowError

__all__ = ["End", "Fault", "Header", "end_message", "read_end"]

_KEY = "flow"
_END = "penguiflow:end"


@dataclass(frozen=True, slots=True)
class Header:
    """Who a message on a bus belongs to."""

    trace_id: str
    run: str
    """Under which name workers share what they remember of it."""
    answer: str
    """The edge by which results go to the caller."""
    asked: bool
    """Whether the caller waits for the trace's end."""
    piece: str = ""
    """Of which stream it is a piece: who sent it on account of what, and the stream's id."""
    place: int = 0
    """Which piece of it, from 0."""
    root: str = ""
    """Span of the trace itself in its log."""
    epoch: int = 0

    def about(self) -> dict[str, Any]:
        """As the first line of a body has it."""
        said = {"trace": self.trace_id, "run": self.run, "answer": self.answer, "asked": self.asked}
        piece = {"piece": self.piece, "place": self.place} if self.piece else {}
        return {_KEY: {**said, "root": self.root, "epoch": self.epoch, **piece}}

    @classmethod
    def of(cls, body: bytes, edge: str) -> Header:
        """From a body. Raises `CannotRead`."""
        try:
            said = from_json(body.partition(b"\n")[0])[_KEY]
            return cls(
                trace_id=str(said["trace"]),
                run=str(said["run"]),
                answer=str(said["answer"]),
                asked=bool(said["asked"]),
                piece=str(said.get("piece", "")),
                place=int(said.get("place", 0)),
                root=str(said["root"]),
                epoch=int(said["epoch"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CannotRead(f"What came by edge {edge} is no message of a distributed flow: {body!r:.100}") from error


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong in a trace: its first failure, and whether an answer tells of it."""

    error: FlowError | None = None
    stopped: bool = False
    """Whether a deadline or budget ended it, whose answer was delivered."""

    def dump(self) -> bytes:
        """As JSON."""
        error = None if self.error is None else self.error.to_payload()
        return to_json({"error": error, "stopped": self.stopped}, fallback=repr, inf_nan_mode="strings")

    @classmethod
    def load(cls, value: bytes) -> Fault:
        """From JSON."""
        said = from_json(value)
        return cls(_error_of(said["error"]), said["stopped"])

    def with_(self, error: FlowError | None, stopped: bool) -> Fault:
        """With what went wrong since."""
        return Fault(self.error or error, self.stopped or stopped)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a trace, as its caller is told."""

    status: str
    fault: Fault


def end_message(header: Header, status: str, fault: Fault) -> BusMessage:
    """What tells a caller that its trace has ended."""
    error = None if fault.error is None else fault.error.to_payload()
    said = {"format": FORMAT, "type": _END, **header.about()}
    said["end"] = {"status": status, "stopped": fault.stopped, "error": error}
    body = to_json(said, fallback=repr, inf_nan_mode="strings") + b"\n"
    return BusMessage(bus_id(header.run, "end"), body)


def read_end(body: bytes) -> End | None:
    """The end that a body tells of; None for a result."""
    said = from_json(body.partition(b"\n")[0])
    if said.get("type") != _END:
        return None
    end = said["end"]
    return End(end["status"], Fault(_error_of(end["error"]), end["stopped"]))


def _error_of(said: dict[str, Any] | None) -> FlowError | None:
    return None if said is None else FlowError.from_payload(said)
