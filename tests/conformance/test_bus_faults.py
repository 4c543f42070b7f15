"""Servers that belong to others, stay away, or die and come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nats
import pytest
import redis.asyncio as redis
from nats.js.api import StreamConfig

from penguiflow.bus import (
    BusAway,
    BusError,
    BusForeign,
    BusMessage,
    BusRefused,
    Depth,
    Limits,
    NatsBus,
    RedisBus,
)
from tests.bus_servers import NatsServer

WAIT_S = 60.0
EDGE = "a->b"
KILLS, RECEIVERS, LIMIT = 3, 2, 7
"""Of the test that kills a server while messages go through it."""


@pytest.mark.parametrize("own_server", ["redis"], indirect=True)
async def test_a_server_that_throws_keys_away(own_server: Any, connect: Any) -> None:
    db: Any = redis.Redis.from_url(own_server.url)
    await db.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(BusError, match=r"throws keys away when its memory is full .maxmemory-policy allkeys-lru."):
        await connect(own_server.url).open("f", [EDGE])
    await db.config_set("maxmemory-policy", "volatile-lru")
    await connect(own_server.url).open("f", [EDGE])
    await db.aclose()


@pytest.mark.parametrize("own_server", ["redis"], indirect=True)
async def test_a_server_without_memory_takes_nothing_until_there_is_room(own_server: Any, connect: Any) -> None:
    db: Any = redis.Redis.from_url(own_server.url)
    hasty, patient = connect(own_server.url, away_s=0.3, start_s=0.3), connect(own_server.url, away_s=WAIT_S)
    for bus in (hasty, patient):
        await bus.open("f", [EDGE])
    await patient.put(EDGE, BusMessage("m0", b"x"))
    await db.config_set("maxmemory", 1)
    with pytest.raises(BusAway, match=r"has no memory left, for 0\.3 s: make room there, or raise its maxmemory"):
        await hasty.put(EDGE, BusMessage("m1", b"x"))
    with pytest.raises(BusAway, match="has no memory left"):
        await connect(own_server.url, away_s=0.3, start_s=0.3).open("another", [EDGE])
    putting = asyncio.ensure_future(patient.put(EDGE, BusMessage("m2", b"x")))
    async with asyncio.timeout(WAIT_S):
        (got,) = await hasty.get(EDGE)
        assert await hasty.ack(got) == [True]
        assert await hasty.depth(EDGE) == Depth(waiting=0, leased=0, dead=0)
        assert not putting.done()
        await db.config_set("maxmemory", 0)
        await putting
        assert [each.id for each in await hasty.get(EDGE)] == ["m2"]
    await db.aclose()


async def test_a_nats_without_room_takes_nothing_until_there_is_some(connect: Any, tmp_path: Path) -> None:
    settings = tmp_path / "nats.conf"
    settings.write_text("jetstream { max_file_store: 100KB }")
    server, body = NatsServer(flags=("-c", str(settings))), b"x" * 10_000
    try:
        server.start()
        hasty, patient = connect(server.url, away_s=0.3), connect(server.url, away_s=WAIT_S)
        for bus in (hasty, patient):
            await bus.open("f", [EDGE])
        put = 0

        async def fill() -> None:
            nonlocal put
            while put < 100:
                await hasty.put(EDGE, BusMessage(f"m{put}", body))
                put += 1

        with pytest.raises(BusAway, match=r"has no room left, for 0\.3 s \(.+\): make room there, or raise its limits"):
            await fill()
        assert put > 3
        putting = asyncio.ensure_future(patient.put(EDGE, BusMessage("late", body)))
        async with asyncio.timeout(WAIT_S):
            for _ in range(put):
                (got,) = await patient.get(EDGE)
                assert got.body == body
                assert await patient.ack(got) == [True]
            await putting
            assert [each.id for each in await patient.get(EDGE)] == ["late"]
    finally:
        server.remove()


@pytest.mark.parametrize("own_server", ["redis"], indirect=True)
async def test_a_replica_takes_nothing(own_server: Any, connect: Any) -> None:
    db: Any = redis.Redis.from_url(own_server.url)
    await db.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(BusAway, match="is a replica that takes no messages"):
        await connect(own_server.url, away_s=0.3, start_s=0.3).open("f", [EDGE])
    await db.aclose()


@pytest.mark.parametrize("own_server", ["redis"], indirect=True)
async def test_what_is_not_ours_or_newer_on_redis(own_server: Any, connect: Any) -> None:
    db: Any = redis.Redis.from_url(own_server.url)
    await db.set("pf:taken", "by somebody")
    with pytest.raises(BusForeign, match=r"the key pf:taken at .* is not penguiflow's"):
        await connect(own_server.url).open("taken", [EDGE])
    await db.hset("pf:newer", mapping={"format": 99, EDGE: 1})
    with pytest.raises(BusForeign, match=r"made by a newer penguiflow .format 99."):
        await connect(own_server.url).open("newer", [EDGE])
    await db.aclose()


@pytest.mark.parametrize("own_server", ["nats"], indirect=True)
async def test_what_is_not_ours_or_newer_on_nats(own_server: Any, connect: Any) -> None:
    client = await nats.connect(own_server.url)
    js = client.jetstream()
    await js.add_stream(name="pf_taken", subjects=["x"])
    with pytest.raises(BusForeign, match=r"the stream 'pf_taken' at .* is not penguiflow's"):
        await connect(own_server.url).open("taken", [EDGE])
    await js.add_stream(name="wide", subjects=["pf.narrow.>"])
    with pytest.raises(BusForeign, match="Another stream has its subjects"):
        await connect(own_server.url).open("narrow", [EDGE])
    await js.add_stream(StreamConfig(name="pf_newer", subjects=["y"], metadata={"penguiflow.format": "99"}))
    with pytest.raises(BusForeign, match=r"made by a newer penguiflow .format 99."):
        await connect(own_server.url).open("newer", [EDGE])
    await client.close()


@pytest.mark.parametrize("own_server", ["nats"], indirect=True)
async def test_an_edge_that_somebody_took_away(own_server: Any, connect: Any) -> None:
    bus = connect(own_server.url, away_s=0.5)
    await bus.open("f", [EDGE])
    waiting = asyncio.ensure_future(bus.get(EDGE))
    await asyncio.wait([waiting], timeout=0.2)
    client = await nats.connect(own_server.url)
    await client.jetstream().delete_stream("pf_f")
    for work in (waiting, bus.put(EDGE, BusMessage("m0", b"x")), bus.get(EDGE, wait_s=0)):
        with pytest.raises(BusAway, match=r"JetStream does not answer at .*, for 0\.5 s"):
            async with asyncio.timeout(WAIT_S):
                await work
    await client.close()


async def test_room_grows_and_never_shrinks_under_what_is_there(own_server: Any, connect: Any) -> None:
    bus = connect(own_server.url, capacity=2)
    await bus.open("f", [EDGE])
    await bus.put(EDGE, BusMessage("m0", b"x"), BusMessage("m1", b"x"))
    wider = connect(own_server.url, capacity=4)
    await wider.open("f", [EDGE])
    await wider.put(EDGE, BusMessage("m2", b"x"), BusMessage("m3", b"x"))
    narrower = connect(own_server.url, capacity=1)
    await narrower.open("f", [EDGE])
    got: list[str] = []
    while len(got) < 4:
        got += [each.id for each in await narrower.get(EDGE, limit=9)]
    assert got == ["m0", "m1", "m2", "m3"]


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    """A bus at an address, not yet open; closed after the test."""
    made: list[Any] = []

    def one(url: str, **limits: Any) -> Any:
        make: Any = NatsBus if url.startswith("nats") else RedisBus
        made.append(make(url, limits=Limits(**{"start_s": WAIT_S, "max_deliveries": 10_000, **limits})))
        return made[-1]

    yield one
    for bus in made:
        await bus.close()


async def test_a_server_that_comes_later(own_server: Any, connect: Any) -> None:
    url = own_server.url
    own_server.kill()
    bus = connect(url)
    opening = asyncio.ensure_future(bus.open("f", [EDGE]))
    await asyncio.wait([opening], timeout=0.3)
    assert not opening.done()
    await asyncio.to_thread(own_server.start)
    async with asyncio.timeout(WAIT_S):
        await opening
        await bus.put(EDGE, BusMessage("m0", b"x"))


async def test_a_server_that_stays_away(own_server: Any, connect: Any) -> None:
    bus = connect(own_server.url, away_s=0.5)
    await bus.open("f", [EDGE])
    waiting = asyncio.ensure_future(bus.get(EDGE))
    await asyncio.wait([waiting], timeout=0.2)
    own_server.kill()
    for work in (waiting, bus.put(EDGE, BusMessage("m0", b"x")), bus.depth(EDGE)):
        with pytest.raises(BusAway, match=r"for 0\.5 s"):
            async with asyncio.timeout(WAIT_S):
                await work


async def test_nothing_is_lost_while_a_server_is_killed(own_server: Any, connect: Any, until: Any) -> None:
    messages = [BusMessage(f"m{number}", b"x" * 100) for number in range(400)]
    sender, receivers = connect(own_server.url, capacity=50, lease_s=2.0), []
    await sender.open("f", [EDGE])
    for _ in range(RECEIVERS):
        receivers.append(connect(own_server.url, capacity=50, lease_s=2.0))
        await receivers[-1].open("f", [EDGE])
    seen: Counter[str] = Counter()
    done: set[str] = set()
    again: list[str] = []
    """What came although it was done."""
    not_held = 0

    async def send() -> None:
        for start in range(0, len(messages), 5):
            await sender.put(EDGE, *messages[start : start + 5])

    async def receive(bus: Any) -> None:
        nonlocal not_held
        while len(seen) < len(messages) or await bus.depth(EDGE) != Depth(waiting=0, leased=0, dead=0):
            got = await bus.get(EDGE, limit=LIMIT, wait_s=0.2)
            seen.update(each.id for each in got)
            again.extend(each.id for each in got if each.id in done)
            held = await bus.ack(*got)
            not_held += held.count(False)
            done.update(each.id for each, was_held in zip(got, held, strict=True) if was_held)

    async def kill() -> None:
        for enough in range(50, 50 + 100 * KILLS, 100):
            await until(lambda enough=enough: len(seen) >= enough)
            own_server.kill()
            await asyncio.to_thread(own_server.start)

    async with asyncio.timeout(2 * WAIT_S):
        await asyncio.gather(send(), kill(), *(receive(bus) for bus in receivers))
    assert seen.keys() == {each.id for each in messages}, "nothing is lost"
    # NATS writes down later who has what: a server that is killed forgets the leases of its last moments.
    forgotten = KILLS * RECEIVERS * LIMIT if own_server.url.startswith("nats") else 0
    assert len(again) <= forgotten, "what is done is done"
    assert seen.total() - len(messages) <= not_held + forgotten, "what comes again was not done in time"
    assert await sender.dead_letters(EDGE) == []


async def test_a_receiver_that_waits_is_found_by_a_server_that_came_back(own_server: Any, connect: Any) -> None:
    bus, other = connect(own_server.url), connect(own_server.url)
    await bus.open("f", [EDGE])
    await other.open("f", [EDGE])
    await bus.put(EDGE, BusMessage("m0", b"x"))
    (held,) = await bus.get(EDGE)
    waiting = asyncio.ensure_future(bus.get(EDGE))
    await asyncio.wait([waiting], timeout=0.2)
    own_server.kill()
    await asyncio.to_thread(own_server.start)
    async with asyncio.timeout(WAIT_S):
        await other.put(EDGE, BusMessage("m1", b"y"))
        (delivery,) = await waiting
        assert delivery.id == "m1"
        assert await bus.ack(held, delivery) == [True, True], "leases outlive the server"


@pytest.mark.parametrize("own_server", ["nats"], indirect=True)
async def test_a_message_that_is_too_large_for_a_server_is_refused(own_server: Any, connect: Any) -> None:
    bus = connect(own_server.url, away_s=WAIT_S)
    await bus.open("f", [EDGE])
    most = 1_048_576  # what a server takes, with the headers
    for size in (most - 50, most, most + 1):
        with pytest.raises(BusError, match=rf"a message of {size} bytes is more than the server at .* takes .1047552"):
            await bus.put(EDGE, BusMessage("m0", b"x" * size))
    await bus.put(EDGE, BusMessage("m1", b"x" * (most - 1024)))
    (got,) = await bus.get(EDGE)
    assert await bus.dead_letter(got, "because of " + "\u00e9" * 500)
    (letter,) = await bus.dead_letters(EDGE)
    assert len(letter.body) == most - 1024
    assert letter.reason.rstrip("\u00e9") == "because of "
    assert "\u00e9" in letter.reason


@pytest.mark.parametrize("login", ["p@s/s:#?%21 ", "%2F"])
async def test_a_password_with_special_signs(connect: Any, login: str) -> None:
    server = NatsServer(login)
    try:
        await asyncio.to_thread(server.start)
        address = server.url.rpartition("@")[2]
        bus = connect(f"nats://penguin:{quote(login, safe='')}@{address}")
        await bus.open("f", [EDGE])
        with pytest.raises(BusRefused) as refused:
            await connect(f"nats://penguin:{quote(login + 'x', safe='')}@{address}").open("f", [EDGE])
        assert login not in str(refused.value)
        assert quote(login, safe="") not in str(refused.value)
    finally:
        await asyncio.to_thread(server.remove)
