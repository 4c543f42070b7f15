"""Edges over NATS JetStream (2.10 or newer): extra `nats`.

A flow has one stream, which keeps a message until it is acknowledged, with a subject and a durable consumer for each
edge. An edge that is full refuses the next message; the others do not notice.

The server does not ask who acknowledges. That a late acknowledgment changes nothing is seen to here: a lease is taken
to be over a little before it is, and nothing is said about it then.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from penguiflow.bus.codec import feed_body
from penguiflow.bus.envelope import BusEnvelope
from penguiflow.bus.errors import BusAway, BusClosed, BusError
from penguiflow.bus.naming import CLOSED, NOT_OPEN, unknown_edge
from penguiflow.bus.nats_graves import DEDUPE, ID, Graveyard, epitaph
from penguiflow.bus.nats_link import Lost, NatsLink, Unanswered
from penguiflow.bus.nats_pull import Lease, Pull
from penguiflow.bus.nats_stream import Place
from penguiflow.bus.protocol import BusMessage, DeadLetter, Delivery, Depth, Limits
from penguiflow.bus.waiting import Backoff, Patience

__all__ = ["NatsBus"]

_log = logging.getLogger("penguiflow.bus")

_FULL = 10077
"""The server's code for an edge without room."""
_NO_ROOM = frozenset({10002, 10023, 10028, 10047})
"""Its codes for memory or a disk, its own or the account's, that are used up."""
_BATCH = 200
"""Messages whose answers are waited for together."""
_PULL_S = 30.0
"""For how long a receiver waits with one request, in seconds."""
_CLOSE_S = 1.0
_DONE = b"+ACK"
_MOST_UNHEARD = 200
"""Acknowledgments that are on their way at once."""


class NatsBus:
    """An `EdgeBus` on a NATS server with JetStream: `NatsBus("nats://user:password@host:4222")`."""

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._link = NatsLink(url, self.limits)
        self.flow = ""
        self._place = Place("", (), self.limits)
        self._open = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unheard: dict[asyncio.Future[Msg], Sequence[Delivery]] = {}
        """Acknowledgments that were said and not yet confirmed."""
        self._url = url

    @property
    def address(self) -> str:
        """Where it is, without what may be secret in that."""
        return self._link.name

    @property
    def most_bytes(self) -> int | None:
        """The largest message that the server takes; None while it is away."""
        return self._link.most_bytes

    def another(self, limits: Limits | None = None) -> NatsBus:
        """A bus at the same place with a connection of its own, not yet open."""
        return NatsBus(self._url, limits=limits or self.limits)

    # From open to close

    async def open(self, flow: str, edges: Sequence[str]) -> None:
        """As `EdgeBus.open`."""
        self._place = Place(flow, edges, self.limits)
        self._link.on_connect = self._make
        if self._open:
            await self._link.patiently(self._make_more)
        else:
            await self._link.ready(self.limits.start_s)
        self.flow = flow
        self._open = True

    async def _make(self, client: Client, patience: Patience) -> None:
        await self._place.make(client, self._link.name, patience)

    async def _make_more(self) -> None:
        await self._make(await self._link.ready(), Patience(self.limits.away_s))

    async def close(self) -> None:
        """As `EdgeBus.close`."""
        if self._unheard:
            await asyncio.wait(self._unheard, timeout=_CLOSE_S)
        self._open = False
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)
        await self._link.close()

    async def publish(self, envelope: BusEnvelope) -> None:
        """Tell whoever listens to `pf.<flow>.feed` at this moment."""
        self._check()
        await self._link.client.publish(self._place.feed, feed_body(envelope))

    # In

    async def put(self, edge: str, *messages: BusMessage) -> None:
        """As `EdgeBus.put`."""
        subject, key = self._subject(edge), f"{self._token(edge)}/"
        done = 0
        while done < len(messages):
            batch: Sequence[BusMessage] = messages[done : done + _BATCH]
            done += len(batch)
            if len(batch) > 1 and await self._has_room(edge, len(batch)):
                batch = await self._stored_at_once(subject, key, batch)
            for message in batch:
                await self._store(subject, message.body, {DEDUPE: key + message.id})

    async def _has_room(self, edge: str, messages: int) -> bool:
        """Whether so many fit, with as much room again: else one might be refused, and the next one not.

        They would change places. The other half is for those who put at the same moment.
        """
        if not self.limits.capacity:
            return True
        return 2 * (await self._on_edge(edge) + messages) <= self.limits.capacity

    async def _on_edge(self, edge: str) -> int:
        subject = f"$JS.API.CONSUMER.INFO.{self._place.stream}.{self._token(edge)}"

        async def ask() -> int:
            said = json.loads((await (await self._link.begin(subject, b""))).data)
            if "error" in said:
                raise Lost
            return int(said["num_pending"]) + int(said["num_ack_pending"])

        size: int = await self._link.patiently(ask)
        return size

    async def _stored_at_once(self, subject: str, key: str, batch: Sequence[BusMessage]) -> Sequence[BusMessage]:
        """Send all, then wait for all answers; what was not stored is returned."""

        async def ask() -> list[Msg]:
            answers = [await self._link.begin(subject, each.body, {DEDUPE: key + each.id}) for each in batch]
            # Not one after the other: each that is lost has to be looked at.
            done = await asyncio.gather(*answers, return_exceptions=True)
            if any(isinstance(each, BaseException) for each in done):
                raise Lost
            return [each for each in done if isinstance(each, Msg)]

        told: list[Msg] = await self._link.patiently(ask)
        return [message for message, answer in zip(batch, told, strict=True) if b'"error"' in answer.data]

    async def _store(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Store one message when there is room."""

        async def ask() -> Msg:
            return await (await self._link.begin(subject, body, headers))

        backoff, no_room = Backoff(0.002, 0.1), Patience(self.limits.away_s)
        while True:
            answer: Msg = await self._link.patiently(ask)
            if b'"error"' not in answer.data:
                return
            error = json.loads(answer.data)["error"]
            code, said = error.get("err_code"), error.get("description")
            if code == _FULL:
                no_room.answered("the edge is full")
            elif code in _NO_ROOM and no_room.left_s() <= 0:
                raise BusAway(
                    f"the NATS at {self._link.name} has no room left, for {self.limits.away_s:g} s ({said}): "
                    "make room there, or raise its limits"
                )
            elif code not in _NO_ROOM:
                raise BusError(f"JetStream at {self._link.name} does not take a message: {said}")
            await asyncio.sleep(backoff())
            self._check()

    # To one process

    async def listen(self, edge: str) -> None:
        """As `EdgeBus.listen`."""
        self._check()

        async def ask() -> None:
            await self._place.listen(await self._link.ready(), edge)

        await self._link.patiently(ask)

    async def tell(self, edge: str, *messages: BusMessage) -> None:
        """As `EdgeBus.tell`."""
        self._check()
        subject, key = self._place.answer(edge), f"{edge}/"
        for message in messages:
            await self._store(subject, message.body, {DEDUPE: key + message.id})

    async def leave(self, edge: str) -> None:
        """As `EdgeBus.leave`."""
        self._check()

        async def ask() -> None:
            await self._place.leave(await self._link.ready(), edge)

        await self._link.patiently(ask)

    # Out

    async def get(self, edge: str, *, limit: int = 1, wait_s: float | None = None) -> list[Delivery]:
        """As `EdgeBus.get`."""
        stream = self._place.answers if edge in self._place.listening else self._place.stream
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{self._token(edge)}"
        loop = asyncio.get_running_loop()
        end = None if wait_s is None else loop.time() + wait_s
        while True:
            got = await self._pull(edge, subject, limit, 0.0)
            left = _PULL_S if end is None else min(_PULL_S, end - loop.time())
            if got or left <= 0:
                return got
            got = await self._pull(edge, subject, 1, left)
            if got and limit > 1:
                try:
                    got += await self._pull(edge, subject, limit - 1, 0.0)
                except BaseException:
                    self._spawn(self._say_all(b"-NAK", got))
                    raise
            if got:
                return got
            self._check()

    async def _pull(self, edge: str, subject: str, limit: int, wait_s: float) -> list[Delivery]:
        """What there is, up to `limit`; if there is nothing, what comes first within `wait_s`."""

        async def ask() -> list[Msg]:
            request: dict[str, Any] = {"batch": limit}
            if wait_s > 0:
                request["expires"] = max(1_000_000, int(wait_s * 1e9))
            else:
                request["no_wait"] = True
            channel = await self._link.borrow()
            pull = Pull(self._link, channel, limit, self._refuse)
            try:
                await self._link.send(subject, json.dumps(request).encode(), reply=channel.inbox)
                return await pull.result(wait_s)
            except BaseException:
                pull.give_up()
                raise

        while True:
            messages: list[Msg] = await self._link.patiently(ask)
            now = asyncio.get_running_loop().time()
            got = [_delivery(edge, msg, now, self.limits.lease_s) for msg in messages]
            poison = [each for each in got if each.attempt > self.limits.max_deliveries]
            if not poison:
                return got
            got = [each for each in got if each not in poison]
            try:
                for each in poison:
                    await self._bury(each, "its lease ran out", each.attempt - 1)
            except BaseException:
                self._spawn(self._say_all(b"-NAK", got))
                raise
            if got:
                return got

    def _refuse(self, msg: Msg) -> None:
        """It came when nobody waited for it any more."""
        self._spawn(self._link.send(msg.reply, b"-NAK"))

    # What becomes of a delivery

    async def ack(self, *deliveries: Delivery) -> list[bool]:
        """As `EdgeBus.ack`. It is said within the lease, and said again until it is heard; nobody waits for that."""
        held = self._held(deliveries)
        for edge in {each.edge for each in held}:
            await self._say_done([each for each in deliveries if each in held and each.edge == edge])
        return [each in held for each in deliveries]

    async def _say_done(self, held: Sequence[Delivery]) -> None:
        for each in held:
            each.receipt.done = True
        try:
            for each in held[:-1]:
                await self._link.send(each.receipt.reply, _DONE)
            answer = await self._link.begin(held[-1].receipt.reply, _DONE)
        except Lost:
            await self._say(_DONE, held)
            return
        self._unheard[answer] = held
        answer.add_done_callback(self._heard)
        if len(self._unheard) > _MOST_UNHEARD:
            await asyncio.wait(self._unheard)

    def _heard(self, answer: asyncio.Future[Msg]) -> None:
        held = self._unheard.pop(answer)
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, Lost) and not isinstance(error, Unanswered) and self._open:
            self._spawn(self._say(_DONE, held))

    async def extend(self, *deliveries: Delivery) -> list[bool]:
        """As `EdgeBus.extend`."""
        now = asyncio.get_running_loop().time()
        told = await self._say_all(b"+WPI", deliveries)
        for delivery, held in zip(deliveries, told, strict=True):
            if held:
                delivery.receipt.renew(now, self.limits.lease_s)
        return told

    async def nack(self, delivery: Delivery, delay_s: float = 0.0) -> bool:
        """As `EdgeBus.nack`."""
        if delivery.attempt >= self.limits.max_deliveries:
            return await self.dead_letter(delivery, "given back on its last delivery")
        what = b"-NAK" if delay_s <= 0 else b'-NAK {"delay": %d}' % int(delay_s * 1e9)
        return (await self._say_all(what, (delivery,)))[0]

    async def dead_letter(self, delivery: Delivery, reason: str) -> bool:
        """As `EdgeBus.dead_letter`."""
        self._token(delivery.edge)
        if not delivery.receipt.holds(asyncio.get_running_loop().time()):
            return False
        await self._bury(delivery, reason, delivery.attempt)
        return True

    async def _bury(self, delivery: Delivery, reason: str, attempts: int) -> None:
        if delivery.edge in self._place.listening:
            await self._say_all(_DONE, (delivery,))
            return  # it was for this process
        lease: Lease = delivery.receipt
        headers = {
            DEDUPE: f"{self._place.stream}:{lease.number}",
            **epitaph(delivery.id, reason, attempts),
        }
        await self._store(self._place.grave(delivery.edge), delivery.body, headers)
        await self._say_all(_DONE, (delivery,))

    async def _say_all(self, what: bytes, deliveries: Sequence[Delivery]) -> list[bool]:
        """Say it of each whose lease holds, and have it confirmed."""
        held = self._held(deliveries)
        told: set[Delivery] = set()
        for edge in {each.edge for each in held}:
            told |= await self._say(what, [each for each in deliveries if each in held and each.edge == edge])
        return [each in told for each in deliveries]

    def _held(self, deliveries: Sequence[Delivery]) -> set[Delivery]:
        """Those whose lease holds."""
        self._check()
        now = asyncio.get_running_loop().time()
        return {each for each in deliveries if each.receipt.holds(now)}

    async def _say(self, what: bytes, held: Sequence[Delivery]) -> set[Delivery]:
        """Say it of deliveries of one edge; those of which it was heard in time."""
        loop = asyncio.get_running_loop()
        over = not what.startswith(b"+WPI")

        async def ask() -> set[Delivery]:
            await self._link.ready()
            now = loop.time()
            asked = [each for each in held if each.receipt.until > now]
            if not asked:
                return set()
            for each in asked:
                each.receipt.done = over
            # A consumer hears what one connection says in the order it is said: the last one's answer is that of all.
            for each in asked[:-1]:
                await self._link.send(each.receipt.reply, what)
            last: Lease = asked[-1].receipt
            try:
                await (await self._link.begin(last.reply, what, within_s=last.until - now))
            except Unanswered:
                return set()  # a server that was restarted does not answer for what it does not know
            return set(asked)

        heard: set[Delivery] = await self._link.patiently(ask)
        return heard

    # Looking at it

    async def depth(self, edge: str) -> Depth:
        """As `EdgeBus.depth`."""
        name, grave = self._token(edge), self._place.grave(edge)
        if self._unheard:
            await asyncio.wait(self._unheard)

        async def ask() -> Depth:
            js = (await self._link.ready()).jetstream()
            about = await js.consumer_info(self._place.stream, name)
            dead = (await js.stream_info(self._place.dead, subjects_filter=grave)).state.subjects or {}
            return Depth(about.num_pending or 0, about.num_ack_pending or 0, dead.get(grave, 0))

        depth: Depth = await self._link.patiently(ask)
        return depth

    async def dead_letters(self, edge: str, *, limit: int = 100) -> list[DeadLetter]:
        """As `EdgeBus.dead_letters`."""
        self._token(edge)
        return await Graveyard(self._link, self._place).letters(edge, limit)

    async def retry_dead(self, letter: DeadLetter) -> bool:
        """As `EdgeBus.retry_dead`."""
        subject = self._subject(letter.edge)
        if await Graveyard(self._link, self._place).at(int(letter.key)) is None:
            return False
        await self._store(subject, letter.body, {DEDUPE: f"{self._place.dead}/{letter.key}", ID: letter.id})
        return await self.drop_dead(letter)

    async def drop_dead(self, letter: DeadLetter) -> bool:
        """As `EdgeBus.drop_dead`."""
        self._token(letter.edge)
        return await Graveyard(self._link, self._place).drop(int(letter.key))

    # Within

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(_unless_lost(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check(self) -> None:
        if not self._open:
            raise BusClosed(CLOSED if self._link.closed else NOT_OPEN)

    def _token(self, edge: str) -> str:
        self._check()
        token = self._place.tokens.get(edge) or self._place.listening.get(edge)
        if token is None:
            raise BusError(unknown_edge(edge, self._place.tokens))
        return token

    def _subject(self, edge: str) -> str:
        self._token(edge)
        return self._place.subject(edge)


def _delivery(edge: str, msg: Msg, now: float, lease_s: float) -> Delivery:
    lease = Lease(msg, now, lease_s)
    headers = msg.headers or {}
    message_id = headers.get(ID) or headers.get(DEDUPE, "").partition("/")[2]
    return Delivery(edge, message_id, msg.data, lease.attempt, lease.put_at, lease.until, lease)


async def _unless_lost(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except (BusError, Lost) as error:
        _log.debug("deliveries were not given back, their leases run out: %s", error)
