"""The inbox through which a running task is steered."""

from __future__ import annotations

import asyncio
from collections import deque

from penguiflow.state.models import SteeringEvent, SteeringEventType
from penguiflow.steering.payloads import (
    MAX_STEERING_DEPTH,
    MAX_STEERING_KEYS,
    MAX_STEERING_LIST_ITEMS,
    MAX_STEERING_PAYLOAD_BYTES,
    MAX_STEERING_STRING,
    SteeringValidationError,
    sanitize_payload,
    sanitize_steering_event,
    validate_steering_event,
)

__all__ = [
    "MAX_STEERING_DEPTH",
    "MAX_STEERING_KEYS",
    "MAX_STEERING_LIST_ITEMS",
    "MAX_STEERING_PAYLOAD_BYTES",
    "MAX_STEERING_STRING",
    "SteeringCancelled",
    "SteeringEvent",
    "SteeringEventType",
    "SteeringInbox",
    "SteeringValidationError",
    "sanitize_payload",
    "sanitize_steering_event",
    "validate_steering_event",
]

_CONTROLS = (SteeringEventType.CANCEL, SteeringEventType.PAUSE, SteeringEventType.RESUME)


class SteeringCancelled(RuntimeError):
    """The task was cancelled by a steering event."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason or "steering_cancelled")
        self.reason = reason


class SteeringInbox:
    """Bounded queue of events for one task, and the state that CANCEL, PAUSE and RESUME set at once.

    CANCEL, PAUSE and RESUME are always taken, even when the queue is full: of each sort that is there already the
    earlier one makes way, so that at most three stand beyond `maxsize`.
    """

    def __init__(self, *, maxsize: int = 100, max_pending_user_messages: int = 2) -> None:
        self._maxsize = maxsize
        self._max_user_messages = max_pending_user_messages
        self._events: deque[SteeringEvent] = deque()
        self._user_messages = 0
        self._arrived = asyncio.Event()
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._cancel_event = asyncio.Event()
        self._cancel_reason: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether a CANCEL came."""
        return self._cancel_event.is_set()

    @property
    def cancel_reason(self) -> str | None:
        """The reason that the first CANCEL gave; None while there was none."""
        return self._cancel_reason

    @property
    def cancel_event(self) -> asyncio.Event:
        """Set by the first CANCEL."""
        return self._cancel_event

    async def push(self, event: SteeringEvent) -> bool:
        """Put an event in, its payload cut to the limits. False when it was refused, and then it has no effect.

        Refused is what does not fit any more, and a USER_MESSAGE while enough of them wait.
        """
        kind = event.event_type
        if kind in _CONTROLS:
            self._control(event)
            self._make_way(kind)
        elif len(self._events) >= self._maxsize > 0:
            return False
        elif kind is SteeringEventType.USER_MESSAGE:
            if self._user_messages >= self._max_user_messages:
                return False
            self._user_messages += 1
        self._events.append(sanitize_steering_event(event))
        self._arrived.set()
        return True

    def has_event(self) -> bool:
        """Whether an event waits."""
        return bool(self._events)

    def drain(self) -> list[SteeringEvent]:
        """All events that wait, in order."""
        events = list(self._events)
        self._events.clear()
        self._user_messages = 0
        return events

    async def next(self) -> SteeringEvent:
        """The next event; waits for one."""
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        if event.event_type is SteeringEventType.USER_MESSAGE:
            self._user_messages -= 1
        return event

    async def wait_if_paused(self) -> None:
        """Return once the task may go on, or is cancelled."""
        await self._may_run.wait()

    def _control(self, event: SteeringEvent) -> None:
        if event.event_type is SteeringEventType.PAUSE:
            if not self.cancelled:
                self._may_run.clear()
            return
        self._may_run.set()
        if event.event_type is SteeringEventType.CANCEL and not self.cancelled:
            reason = event.payload.get("reason")
            self._cancel_reason = reason if isinstance(reason, str) and reason else "cancelled"
            self._cancel_event.set()

    def _make_way(self, kind: SteeringEventType) -> None:
        """Drop the waiting event of this kind if the queue is full: the later one says all that counts."""
        if len(self._events) >= self._maxsize > 0:
            for waiting in self._events:
                if waiting.event_type is kind:
                    self._events.remove(waiting)
                    return
