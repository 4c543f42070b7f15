"""Edges over Redis Streams (Redis 6.2 or newer, or Valkey): extra `redis`.

Each edge is a stream with a consumer group; `penguiflow.bus.redis_scripts` tells what is kept beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from redis import exceptions

from penguiflow.bus import redis_scripts as lua
from penguiflow.bus.codec import FORMAT, feed_body
from penguiflow.bus.envelope import BusEnvelope
from penguiflow.bus.errors import BusClosed, BusError, BusForeign
from penguiflow.bus.naming import CLOSED, NOT_OPEN, token, unknown_edge
from penguiflow.bus.protocol import PRIVATE_S, BusMessage, DeadLetter, Delivery, Depth, Limits
from penguiflow.bus.redis_server import RedisServer, Script
from penguiflow.bus.waiting import Backoff
from penguiflow.ids import new_id

__all__ = ["RedisBus"]

_log = logging.getLogger("penguiflow.bus")

_LOOK_S = 1.0
"""For how long at most a receiver waits for new messages before it looks for leases that ran out, in seconds."""
_FORGET_MS = 3_600_000
"""Consumers that hold nothing and did nothing for so long are forgotten."""
_FEED = 10_000
_ACK, _BURY, _DEPTH, _EXTEND = Script(lua.ACK), Script(lua.BURY), Script(lua.DEPTH), Script(lua.EXTEND)
_GIVE_BACK, _NACK, _PRUNE, _PUT = Script(lua.GIVE_BACK), Script(lua.NACK), Script(lua.PRUNE), Script(lua.PUT)
_RETRY, _TAKE, _TELL = Script(lua.RETRY), Script(lua.TAKE), Script(lua.TELL)


class _Edge:
    """Keys of one edge. They share a slot of a cluster."""

    __slots__ = ("cursor", "keys", "look_at", "private", "ready", "renew_at", "seen")

    def __init__(self, flow: str, edge: str) -> None:
        stream = f"pf:{{{token(flow)}:{token(edge)}}}"
        self.keys = (stream, f"{stream}:later", f"{stream}:dead")
        self.seen = (stream, f"{stream}:seen")
        self.cursor: Any = "0-0"
        self.look_at = 0.0
        """When to look for leases that ran out, by the loop's clock."""
        self.ready = False
        self.private = False
        """Whether it is there only for as long as somebody gets from it."""
        self.renew_at = 0.0
        """When to say that somebody does."""


class RedisBus:
    """An `EdgeBus` on a Redis or Valkey server: `RedisBus("redis://:password@host:6379/0")`.

    What survives a crash of the server is what it has written: `appendonly yes` for flows that matter.
    """

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.flow = ""
        self.consumer = new_id()[:12]
        """Who holds the leases of this bus."""
        self._server = RedisServer(url, self.limits)
        self._edges: dict[str, _Edge] = {}
        self._listening: dict[str, _Edge] = {}
        self._open = False
        self._lease_ms = max(1, int(self.limits.lease_s * 1000))
        self._tasks: set[asyncio.Task[Any]] = set()
        self._url = url

    @property
    def address(self) -> str:
        """Where it is, without what may be secret in that."""
        return self._server.name

    def another(self, limits: Limits | None = None) -> RedisBus:
        """A bus at the same place with a connection of its own, not yet open."""
        return RedisBus(self._url, limits=limits or self.limits)

    # From open to close

    async def open(self, flow: str, edges: Sequence[str]) -> None:
        """As `EdgeBus.open`."""
        await self._server.connect()
        about = f"pf:{token(flow)}"
        db = self._server.db
        try:
            known: dict[bytes, bytes] = await self._server.patiently(lambda: db.hgetall(about))
        except exceptions.ResponseError as error:
            raise BusForeign(f"the key {about} at {self._server.name} is not penguiflow's: {error}") from error
        form = int(known.pop(b"format", b"0"))
        if form > FORMAT:
            raise BusForeign(f"the flow '{flow}' at {self._server.name} was made by a newer penguiflow (format {form})")
        theirs = {name.decode() for name in known}
        if theirs and theirs.isdisjoint(edges):
            raise BusForeign(
                f"'{flow}' at {self._server.name} is another flow, of the edges {', '.join(sorted(theirs))}: "
                "give this one a name of its own"
            )
        said = {"format": FORMAT, **dict.fromkeys(edges, 1)}
        if form < FORMAT or not theirs.issuperset(edges):
            # Only what is missing: a server whose memory is full still lets those in who make room.
            await self._server.patiently(lambda: db.hset(about, mapping=said))
        self.flow = flow
        self._edges = {edge: self._edges.get(edge) or _Edge(flow, edge) for edge in edges}
        self._open = True

    async def close(self) -> None:
        """As `EdgeBus.close`."""
        if not self._open:
            await self._server.close()
            return
        self._open = False
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LOOK_S)
        for edge in self._edges.values():
            if edge.ready:
                try:
                    await self._server.db.eval(lua.PRUNE, 3, *edge.keys, self.consumer, 0)
                except exceptions.RedisError:
                    break  # it is forgotten some day, by whoever opens the edge then
        await self._server.close()

    async def publish(self, envelope: BusEnvelope) -> None:
        """Tell whoever reads the stream `pf:<flow>:feed`, which keeps about the latest ten thousand."""
        self._check()
        about = {"b": feed_body(envelope)}
        await self._server.db.xadd(f"pf:{token(self.flow)}:feed", about, maxlen=_FEED, approximate=True)

    # In

    async def put(self, edge: str, *messages: BusMessage) -> None:
        """As `EdgeBus.put`."""
        await self._put(_PUT, self._edge(edge), messages)

    async def _put(self, script: Script, at: _Edge, messages: Sequence[BusMessage]) -> None:
        limits = self.limits
        parts = [part for message in messages for part in (message.id, message.body)]
        head = (limits.capacity, int(limits.dedupe_s * 1000))
        backoff = Backoff(0.002, 0.1)
        tried = len(parts)
        while parts:
            taken = 2 * await self._run(script, at, at.seen, (*head, *parts[:tried]))
            parts = parts[taken:]
            if taken == tried:
                backoff, tried = Backoff(0.002, 0.1), len(parts)
            else:
                tried = 2  # it is full: one message is enough to ask with
                await asyncio.sleep(backoff())
                self._check()

    # To one process

    async def listen(self, edge: str) -> None:
        """As `EdgeBus.listen`."""
        self._check()
        at = _Edge(self.flow, edge)
        at.private = True
        try:
            await self._make(at)
        except exceptions.RedisError as error:
            raise BusError(f"the bus at {self._server.name} refuses what is asked of it: {error}") from error
        self._listening[edge] = at

    async def tell(self, edge: str, *messages: BusMessage) -> None:
        """As `EdgeBus.tell`."""
        self._check()
        at = _Edge(self.flow, edge)
        at.ready = True  # who listens has made it
        await self._put(_TELL, at, messages)

    async def leave(self, edge: str) -> None:
        """As `EdgeBus.leave`."""
        self._check()
        at = self._listening.pop(edge, None)
        if at is not None:
            await self._server.patiently(lambda: self._server.db.delete(*at.keys, at.seen[1]))

    async def _renew(self, at: _Edge) -> None:
        """Somebody listens still."""
        loop = asyncio.get_running_loop()
        if loop.time() >= at.renew_at:
            at.renew_at = loop.time() + PRIVATE_S / 6
            await self._server.patiently(lambda: self._server.db.pexpire(at.keys[0], int(PRIVATE_S * 1000)))

    # Out

    async def get(self, edge: str, *, limit: int = 1, wait_s: float | None = None) -> list[Delivery]:
        """As `EdgeBus.get`."""
        at = self._edge(edge)
        loop = asyncio.get_running_loop()
        end = None if wait_s is None else loop.time() + wait_s
        while True:
            taking = asyncio.ensure_future(self._take(edge, at, limit))
            try:
                got, last, due_s = await asyncio.shield(taking)
            except asyncio.CancelledError:
                # The server may have leased them to us already: nobody should have to wait for that to run out.
                self._spawn(self._give_back(at, taking))
                raise
            left = _LOOK_S if end is None else min(_LOOK_S, end - loop.time())
            if got or left <= 0:
                return got
            await self._wait_new(at, last, min(left, due_s))
            self._check()

    async def _take(self, edge: str, at: _Edge, limit: int) -> tuple[list[Delivery], bytes, float]:
        """What there is; else the stream's last entry, and in how many seconds something is due."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        look = now >= at.look_at
        if look:
            at.look_at = now + min(_LOOK_S, self.limits.lease_s / 4)
        args = (self.consumer, limit, self._lease_ms, self.limits.max_deliveries, int(look), at.cursor)
        rows, cursor, last, due_ms = await self._run(_TAKE, at, at.keys, args)
        at.cursor = cursor
        if at.private:
            await self._renew(at)
        until = now + self.limits.lease_s
        got = [
            Delivery(edge, message_id.decode(), body, count, _put_at(entry), until, (entry, count))
            for entry, count, message_id, body in rows
        ]
        return got, last, _LOOK_S if due_ms < 0 else due_ms / 1000

    async def _wait_new(self, at: _Edge, last: bytes, wait_s: float) -> None:
        """Return when the stream got a new entry, or after `wait_s`; takes nothing from it."""
        block_ms = max(1, int(min(wait_s, self.limits.lease_s / 4) * 1000))
        stream = at.keys[0]
        await self._server.patiently(lambda: self._server.db.xread({stream: last}, count=1, block=block_ms))

    async def _give_back(self, at: _Edge, taking: asyncio.Future[tuple[list[Delivery], bytes, float]]) -> None:
        try:
            got, _, _ = await taking
            if got:
                await self._run(_GIVE_BACK, at, at.keys, (self.consumer, self._lease_ms, *_receipts(got)))
        except BusError as error:
            _log.debug("deliveries were not given back, their leases run out: %s", error)

    # What becomes of a delivery

    async def ack(self, *deliveries: Delivery) -> list[bool]:
        """As `EdgeBus.ack`."""
        return await self._each(_ACK, deliveries)

    async def extend(self, *deliveries: Delivery) -> list[bool]:
        """As `EdgeBus.extend`."""
        return await self._each(_EXTEND, deliveries)

    async def _each(self, script: Script, deliveries: Sequence[Delivery]) -> list[bool]:
        if not deliveries:
            return []
        edge = deliveries[0].edge
        if all(each.edge == edge for each in deliveries):
            at = self._edge(edge)
            told = await self._run(script, at, at.keys, (self.consumer, self._lease_ms, *_receipts(deliveries)))
            return [bool(each) for each in told]
        return [(await self._each(script, (each,)))[0] for each in deliveries]

    async def nack(self, delivery: Delivery, delay_s: float = 0.0) -> bool:
        """As `EdgeBus.nack`."""
        at = self._edge(delivery.edge)
        delay_ms = max(0, round(delay_s * 1000))
        receipt = (self.consumer, self._lease_ms, *delivery.receipt)
        return bool(await self._run(_NACK, at, at.keys, (*receipt, self.limits.max_deliveries, delay_ms)))

    async def dead_letter(self, delivery: Delivery, reason: str) -> bool:
        """As `EdgeBus.dead_letter`."""
        at = self._edge(delivery.edge)
        receipt = (self.consumer, self._lease_ms, *delivery.receipt)
        return bool(await self._run(_BURY, at, at.keys, (*receipt, reason)))

    # Looking at it

    async def depth(self, edge: str) -> Depth:
        """As `EdgeBus.depth`."""
        at = self._edge(edge)
        size, leased, dead = await self._run(_DEPTH, at, at.keys, ())
        return Depth(size - leased, leased, dead)

    async def dead_letters(self, edge: str, *, limit: int = 100) -> list[DeadLetter]:
        """As `EdgeBus.dead_letters`."""
        at = self._edge(edge)
        rows = await self._server.patiently(lambda: self._server.db.xrange(at.keys[2], count=limit))
        return [
            DeadLetter(edge, said[b"i"].decode(), said[b"b"], said[b"r"].decode(), int(said[b"n"]), key.decode())
            for key, said in rows
        ]

    async def retry_dead(self, letter: DeadLetter) -> bool:
        """As `EdgeBus.retry_dead`."""
        at = self._edge(letter.edge)
        backoff = Backoff(0.002, 0.1)
        while (told := await self._run(_RETRY, at, at.keys, (self.limits.capacity, letter.key))) < 0:
            await asyncio.sleep(backoff())
            self._check()
        return bool(told)

    async def drop_dead(self, letter: DeadLetter) -> bool:
        """As `EdgeBus.drop_dead`."""
        at = self._edge(letter.edge)
        return bool(await self._server.patiently(lambda: self._server.db.xdel(at.keys[2], letter.key)))

    # Between the bus and the server

    async def _run(self, script: Script, at: _Edge, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script on an edge, whose group is made when it is missing."""
        try:
            if not at.ready:
                await self._make(at)
            try:
                return await self._server.run(script, keys, args)
            except exceptions.ResponseError as error:
                if "NOGROUP" not in str(error) and "no such key" not in str(error):
                    raise
                _log.warning("the bus at %s came back without its data", self._server.name)
                await self._make(at)
                return await self._server.run(script, keys, args)
        except exceptions.RedisError as error:
            if not self._open:
                raise BusClosed(CLOSED) from error
            raise BusError(f"the bus at {self._server.name} refuses what is asked of it: {error}") from error

    async def _make(self, at: _Edge) -> None:
        stream = at.keys[0]
        db = self._server.db
        if await self._has_group(stream):
            await self._server.run(_PRUNE, at.keys, ("", _FORGET_MS))
        else:
            try:
                await self._server.patiently(lambda: db.xgroup_create(stream, lua.GROUP, id="0", mkstream=True))
            except exceptions.ResponseError as error:
                if "BUSYGROUP" not in str(error):  # else somebody else was quicker
                    raise
        at.ready = True
        if at.private:
            at.renew_at = 0.0
            await self._renew(at)

    async def _has_group(self, stream: str) -> bool:
        """Asked first: a server whose memory is full makes none, and says so of one that is there."""
        try:
            groups = await self._server.patiently(lambda: self._server.db.xinfo_groups(stream))
        except exceptions.ResponseError as error:
            if "no such key" not in str(error):
                raise
            return False
        return any(group["name"] == lua.GROUP.encode() for group in groups)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check(self) -> None:
        if not self._open:
            raise BusClosed(CLOSED if self._server.closed else NOT_OPEN)

    def _edge(self, name: str) -> _Edge:
        self._check()
        edge = self._edges.get(name) or self._listening.get(name)
        if edge is None:
            raise BusError(unknown_edge(name, self._edges))
        return edge


def _receipts(deliveries: Sequence[Delivery]) -> list[Any]:
    return [part for each in deliveries for part in each.receipt]


def _put_at(entry: bytes) -> float:
    """An entry's name begins with the milliseconds of the server's clock."""
    return int(entry.partition(b"-")[0]) / 1000
