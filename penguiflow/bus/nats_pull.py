"""One request for messages, and the leases that come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.msg import Msg

from penguiflow.bus.nats_link import Channel, Lost, NatsLink, Unanswered, status_of

__all__ = ["Lease", "Pull"]

_GRACE_S = 5.0
"""For how long the server's word is waited for, beyond what was asked, in seconds."""
_STILL_THERE = "100"
_NO_MORE = ("404", "408")
"""There are no messages; the time is over. Anything else is a consumer that is not there, or not now."""
_MARGIN = 0.1
_MOST_MARGIN_S = 1.0
"""A lease is taken to be over by a tenth of it, or this much, before the server does so."""
_SHORT = 9
"""Parts of a reply subject without the domain and the account."""


class Lease:
    """What the server said of a delivery, and until when it is ours."""

    __slots__ = ("attempt", "done", "number", "put_at", "reply", "until")

    def __init__(self, msg: Msg, now: float, lease_s: float) -> None:
        parts = msg.reply.split(".")
        first = 4 if len(parts) == _SHORT else 6
        self.reply = msg.reply
        self.attempt = int(parts[first])
        self.number = parts[first + 1]
        """Of the message in its stream."""
        self.put_at = int(parts[first + 3]) / 1e9
        self.done = False
        self.until = 0.0
        self.renew(now, lease_s)

    def renew(self, now: float, lease_s: float) -> None:
        """It begins anew."""
        self.until = now + lease_s - min(lease_s * _MARGIN, _MOST_MARGIN_S)

    def holds(self, now: float) -> bool:
        """Whether it is ours, and nothing was said about it."""
        return not self.done and now < self.until


class Pull:
    """Collects what one request brings, and gives its channel back when nothing more comes by it."""

    __slots__ = ("_channel", "_future", "_given_up", "_got", "_left", "_link", "_refuse")

    def __init__(self, link: NatsLink, channel: Channel, limit: int, refuse: Callable[[Msg], None]) -> None:
        self._link = link
        self._channel = channel
        self._left = limit
        self._refuse = refuse
        self._got: list[Msg] = []
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._given_up = False
        channel.handler = self.arrived

    def arrived(self, msg: Msg | None) -> None:
        """A message, the server's word that there are no more, or None when the connection was lost."""
        if msg is None:
            self._end(Lost())
        elif status := status_of(msg):
            if status in _NO_MORE:
                self._over(None)
            elif status != _STILL_THERE:
                self._over(Unanswered())
        else:
            if self._given_up or self._future.done():
                self._refuse(msg)
            else:
                self._got.append(msg)
            self._left -= 1
            if not self._left:
                self._over(None)

    def _over(self, error: Exception | None) -> None:
        self._link.give(self._channel)
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._future.done():
            return
        if error is None or self._got:
            self._future.set_result(None)
        else:
            self._future.set_exception(error)

    async def result(self, wait_s: float) -> list[Msg]:
        """What came, when it is all there is. Raises `Lost`."""
        # The server ends it; should its word be lost, so do we, and what comes later is given back.
        timer = asyncio.get_running_loop().call_later(wait_s + _GRACE_S, self._end, Lost())
        try:
            await self._future
        finally:
            timer.cancel()
        return self._got

    def give_up(self) -> None:
        """Nobody waits any more: what came, and what comes, is given back."""
        if self._given_up:
            return
        self._given_up = True
        if not self._future.done():
            self._future.cancel()
        elif not self._future.cancelled():
            self._future.exception()
        for msg in self._got:
            self._refuse(msg)
