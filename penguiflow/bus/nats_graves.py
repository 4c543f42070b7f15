"""Dead letters on NATS: a stream of their own, with what is told of each in its headers."""

from __future__ import annotations

from urllib.parse import quote, unquote

from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError, ServerError

from penguiflow.bus.nats_link import NatsLink
from penguiflow.bus.nats_stream import Place
from penguiflow.bus.protocol import DeadLetter

__all__ = ["DEDUPE", "ID", "Graveyard", "epitaph"]

DEDUPE = "Nats-Msg-Id"
"""Repeats are told by it within the whole stream: the edge and the id of the message."""
ID = "Penguiflow-Id"
"""The message's id where it is not the key by which repeats are told."""
_REASON, _ATTEMPTS = "Penguiflow-Reason", "Penguiflow-Attempts"
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_MOST_REASON = 400
"""Bytes of a reason: it stands in a header, for which there is little room."""


def epitaph(message_id: str, reason: str, attempts: int) -> dict[str, str]:
    """The headers that tell of a dead letter."""
    return {ID: _as_header(message_id), _REASON: _as_header(reason, most=_MOST_REASON), _ATTEMPTS: str(attempts)}


class Graveyard:
    """The dead letters of a flow."""

    def __init__(self, link: NatsLink, place: Place) -> None:
        self._link, self._place = link, place

    async def letters(self, edge: str, limit: int) -> list[DeadLetter]:
        """Those of an edge, oldest first."""
        grave = self._place.grave(edge)
        found: list[DeadLetter] = []
        number = 1
        while len(found) < limit:
            msg = await self.at(number, grave)
            if msg is None or msg.seq is None:
                break
            number = msg.seq + 1
            headers = msg.headers or {}
            # One with other signs, as was written before, comes as an object.
            message_id, reason = (unquote(str(headers.get(name, ""))) for name in (ID, _REASON))
            said = (message_id, msg.data or b"", reason, int(headers.get(_ATTEMPTS, "0")))
            found.append(DeadLetter(edge, *said, key=str(msg.seq)))
        return found

    async def at(self, number: int, subject: str | None = None) -> RawStreamMsg | None:
        """A dead letter by its number; with a subject, the first one from there on."""

        async def ask() -> RawStreamMsg | None:
            js = (await self._link.ready()).jetstream()
            try:
                return await js.get_msg(self._place.dead, number, subject=subject, next=subject is not None)
            except NotFoundError:
                return None

        found: RawStreamMsg | None = await self._link.patiently(ask)
        return found

    async def drop(self, number: int) -> bool:
        """Remove one; False when it is gone already."""

        async def ask() -> bool:
            js = (await self._link.ready()).jetstream()
            try:
                return bool(await js.delete_msg(self._place.dead, number))
            except (NotFoundError, ServerError):
                return False

        dropped: bool = await self._link.patiently(ask)
        return dropped


def _as_header(text: str, most: int = 0) -> str:
    """Text as it may stand in a header of what is kept: that is read back as plain signs alone. `most` cuts it."""
    told = quote(text, safe=_PLAIN, errors="replace")
    while most and len(told) > most:
        text = text[: 3 * len(text) // 4]
        told = quote(text, safe=_PLAIN, errors="replace")
    return told
