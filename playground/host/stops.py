"""One stopped run: what a client is shown of it, and what it may change before the run goes on."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

from pydantic_core import to_json

from penguiflow.checkpoints import Checkpoint, Decision, Part, Unfit
from penguiflow.recording.masking import Masker
from playground.breakpoints import Breakpoint
from playground.debug_frames import PartName
from playground.host.runs import jsonable
from playground.host.stopped_values import decision_of, edited, refused, shown
from playground.protocol import Context, ContextEdit, ContextPart, Decide, Stopped, Why, encode

MAX_SHOWN_BYTES = 4 * 1024 * 1024
MAX_SCHEMA_BYTES = 512 * 1024
PARTS: tuple[PartName, ...] = ("headers", "meta", "llm_context", "tool_context")


class Conflict(Exception):
    """What was to be changed is another by now."""


class Stop:
    """A run that waits at a checkpoint."""

    def __init__(
        self, name: str, checkpoint: Checkpoint, plain: Any, masker: Masker | None, found: Breakpoint | None
    ) -> None:
        """`plain` is the payload as JSON; `found` is what stopped it, None for a step."""
        self.name = name
        self.checkpoint = checkpoint
        self.answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._found = found
        self._masker = masker
        self._since = time.time()
        self._replaced = False
        """Whether the payload is another than the run has."""
        self._take(plain)

    @property
    def trace_id(self) -> str:
        """The run."""
        return self.checkpoint.trace_id or ""

    def frame(self, target: str | None, why: Why | None) -> Stopped:
        """What clients are told."""
        checkpoint, place = self.checkpoint, self.checkpoint.place
        frame = Stopped(
            stop=self.name,
            trace_id=self.trace_id,
            span_id=checkpoint.span_id,
            path=list(checkpoint.path),
            kind=checkpoint.kind,
            name=checkpoint.name,
            target=target,
            payload=self._masked,
            why=why,
            breakpoint=None if self._found is None else self._found.id,
            since=self._since,
        )
        if place is not None:
            frame.actions = list(place.actions)
            frame.value_at = place.editable
            frame.value_schema = _bounded(place.schema("edit"))
            frame.result_schema = _bounded(place.schema("skip")) if "skip" in frame.actions else None
            found = place.parts()
            frame.context = [name for name in PARTS if name in found]
            memory = place.memory()
            frame.memory = None if memory is None else memory.key
            kv = place.kv()
            frame.kv = None if kv is None else kv.session
        size = len(encode(frame))
        if size > MAX_SHOWN_BYTES:
            frame.payload, frame.bytes = None, size
        return frame

    def decide(self, request: Decide, by: str) -> Decision:
        """What a client decided. Raises `InputRefused`."""
        decision = decision_of(request, self.checkpoint, self._plain, self._masked, by)
        if decision.action == "proceed" and self._replaced:
            return Decision("edit", self.checkpoint.payload, by=by)
        return decision

    def context(self) -> Context:
        """What is around it."""
        place = self.checkpoint.place
        found = {} if place is None else place.parts()
        parts = [self._part(name, found[name]) for name in PARTS if name in found]
        return Context(stop=self.name, trace_id=self.trace_id, parts=parts)

    def change(self, request: ContextEdit, by: str) -> bool:
        """Change a part of what is around it; whether the payload is another now.

        Raises `Conflict`, `InputRefused`, and `LookupError` where there is no such part.
        """
        place = self.checkpoint.place
        part = None if place is None else place.parts().get(request.part)
        if place is None or part is None:
            raise LookupError(f"there is no {request.part} here")
        plain = jsonable(part.value)
        if _version(plain) != request.version:
            raise Conflict(f"{request.part} is another by now: look at it again")
        try:
            if part.why_not is not None:
                raise Unfit([("", part.why_not)])
            value = edited(request.value, request.edits, plain, self._mask(plain))
            payload = place.change(request.part, value, by)
        except Unfit as unfit:
            raise refused(unfit) from None
        if payload is None:
            return False
        self.checkpoint = self.checkpoint._replace(payload=payload)
        self._replaced = True
        self._take(shown(self.checkpoint))
        return True

    def _part(self, name: PartName, part: Part) -> ContextPart:
        plain = jsonable(part.value)
        made = ContextPart(
            name=name,
            value=self._mask(plain),
            version=_version(plain),
            value_schema=None if part.schema is None else dict(part.schema),
            editable=part.why_not is None,
            why_not=part.why_not,
        )
        size = len(encode(made))
        if size > MAX_SHOWN_BYTES:
            made.value, made.bytes = None, size
        return made

    def _take(self, plain: Any) -> None:
        self._plain, self._masked = plain, self._mask(plain)

    def _mask(self, plain: Any) -> Any:
        return plain if self._masker is None else self._masker.value(plain)


def _version(plain: Any) -> str:
    return hashlib.blake2b(to_json(plain, fallback=repr), digest_size=8).hexdigest()


def _bounded(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """A schema that is larger than what it describes can be is of no use to anybody."""
    return None if schema is None or len(to_json(schema, fallback=repr)) > MAX_SCHEMA_BYTES else schema
