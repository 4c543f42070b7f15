"""The protocol over a real socket, with clients that keep to it and clients that do not."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.uri import parse_uri

from playground.protocol import (
    HOST_TRACE,
    MAX_FRAME_BYTES,
    Accepted,
    Bye,
    Cancel,
    Error,
    Events,
    Flows,
    Hello,
    Logs,
    Result,
    Run,
    Stats,
    Stream,
    Subscribe,
    decode,
)

if TYPE_CHECKING:
    from tests.playground.host.conftest import Peer, Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


def seqs(frames: list[object], trace_id: str) -> list[int]:
    """Numbers of a trace's events, in the order in which they came."""
    return [
        event["seq"]
        for frame in frames
        if isinstance(frame, Events | Stream)
        for event in frame.events
        if event["trace_id"] == trace_id
    ]


async def still_serves(served: Served) -> bool:
    """A new client gets a run done."""
    async with served.connect() as socket:
        client = served.peer(socket)
        await client.send(Run(id=1, target="flow.py", input=5))
        result = await client.until(Result)
        return bool(result.output == 5)


class TestAdmission:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": "a token of this test"}, 401),
            ({"Authorization": "Bearer \xe9"}, 401),
            ({"Authorization": "Bearer a token of this test", "Origin": "https://example.com"}, 403),
            ({"Authorization": "Bearer a token of this test", "Origin": "null"}, 403),
        ],
    )
    async def test_strangers_are_refused_before_the_upgrade(
        self, served: Served, headers: dict[str, str], status: int
    ) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url, additional_headers=headers, proxy=None, open_timeout=60):
                pass
        assert refused.value.response.status_code == status

    async def test_the_hosts_own_origin_is_no_stranger(self, served: Served) -> None:
        origin = f"http://{urlsplit(served.url).netloc}"
        async with served.connect(Origin=origin) as socket:
            assert isinstance(decode(await socket.recv()), Hello)

    async def test_a_refusal_is_logged(self, served: Served, peer: Peer) -> None:
        origin = {"Origin": "https://evil.test"}
        with pytest.raises(InvalidStatus):
            async with connect(served.url, additional_headers=origin, proxy=None, open_timeout=60):
                pass
        logs = await peer.until(Logs)
        while not any("https://evil.test" in line.text for line in logs.lines):
            logs = await peer.until(Logs)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.binary(max_size=2000))
    async def test_arbitrary_bytes_on_the_socket_do_no_harm(self, served: Served, data: bytes) -> None:
        parts = urlsplit(served.url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(data)
        writer.close()
        async with served.connect() as socket:
            assert isinstance(decode(await socket.recv()), Hello)


class TestFrames:
    async def test_a_host_says_who_it_is(self, peer: Peer) -> None:
        hello = await peer.until(Hello)
        assert (hello.protocol, hello.generation) == (1, 7)
        assert hello.pid

    async def test_flows_and_stats_are_told_when_asked(self, served: Served, peer: Peer) -> None:
        await peer.send(Flows(id=3))
        flows = await peer.until(Flows)
        assert flows.reply_to == 3
        assert [module.path for module in flows.modules] == ["flow.py"]
        await peer.send(Stats(id=4))
        stats = await peer.until(Stats)
        assert stats.reply_to == 4
        assert stats.rss_bytes > 1_000_000

    async def test_a_run_is_accepted_then_followed_then_over(self, peer: Peer) -> None:
        await peer.send(Run(id=1, target="flow.py", input=[1, 2]))
        accepted = await peer.until(Accepted)
        result = await peer.until(Result)
        assert accepted.reply_to == 1
        assert (result.trace_id, result.status, result.output) == (accepted.trace_id, "ok", [1, 2])
        assert seqs(peer.frames, accepted.trace_id) == list(range(len(seqs(peer.frames, accepted.trace_id))))
        assert len(seqs(peer.frames, accepted.trace_id)) > 5

    async def test_chunks_travel_in_frames_of_their_own(self, peer: Peer) -> None:
        await peer.send(Run(id=1, target="flow.py", input={"chunks": 20}))
        accepted = await peer.until(Accepted)
        await peer.until(Result)
        streamed = [event for frame in peer.frames if isinstance(frame, Stream) for event in frame.events]
        assert len([event for event in streamed if event["kind"] == "stream.chunk"]) == 20
        events = [event["kind"] for frame in peer.frames if isinstance(frame, Events) for event in frame.events]
        assert "stream.chunk" not in events
        numbers = seqs(peer.frames, accepted.trace_id)
        assert numbers == list(range(len(numbers)))

    async def test_a_run_can_be_cancelled_once(self, peer: Peer) -> None:
        await peer.send(Run(id=1, target="flow.py", input={"sleep": 60}))
        accepted = await peer.until(Accepted)
        await peer.send(Cancel(id=2, trace_id=accepted.trace_id))
        result = await peer.until(Result)
        assert result.status == "cancelled"
        await peer.send(Cancel(id=3, trace_id=accepted.trace_id))
        error = await peer.until(Error)
        assert (error.reply_to, error.code) == (3, "not_found")

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            ({"type": "run", "target": "other.py"}, "not_found"),
            ({"type": "run", "target": "flow.py", "headers": {"priority": "high"}}, "invalid_input"),
            ({"type": "accepted"}, "unknown_frame"),
            ({"type": "events", "events": []}, "unknown_frame"),
        ],
    )
    async def test_what_cannot_be_done_is_answered(self, peer: Peer, sent: dict[str, object], code: str) -> None:
        await peer.send(json.dumps({**sent, "id": 9}))
        error = await peer.until(Error)
        assert (error.reply_to, error.code) == (9, code)
        await peer.send(Stats(id=10))
        assert (await peer.until(Stats)).reply_to == 10

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            ("no json", "malformed"),
            ("[]", "malformed"),
            ('{"type": "nonsense"}', "unknown_frame"),
            ("{}", "unknown_frame"),
            ('{"type": "run"}', "malformed"),
            ('{"type": "run", "target": 5}', "malformed"),
            (b"\xff\xfe", "malformed"),
            ("[" * 10_000, "malformed"),
        ],
    )
    async def test_what_is_no_frame_is_answered_and_the_connection_stays(
        self, peer: Peer, data: str | bytes, code: str
    ) -> None:
        await peer.send(data)
        assert (await peer.until(Error)).code == code
        await peer.send(Stats(id=10))
        assert (await peer.until(Stats)).reply_to == 10

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.text(max_size=300) | st.binary(max_size=300))
    async def test_arbitrary_frames_do_no_harm(self, peer: Peer, data: str | bytes) -> None:
        await peer.send(data.encode(errors="replace").decode() if isinstance(data, str) else data)
        await peer.send(Stats(id=11))
        assert (await peer.until(Stats)).reply_to == 11

    async def test_a_frame_that_is_too_large_ends_its_connection_only(self, served: Served, peer: Peer) -> None:
        parts = urlsplit(served.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        handshake = ClientProtocol(parse_uri(served.url))
        request = handshake.connect()
        request.headers["Authorization"] = f"Bearer {served.token}"
        writer.write(request.serialize())
        await reader.readuntil(b"\r\n\r\n")
        # The head of a frame of this size is enough: it is refused before its body is read.
        writer.write(b"\x81\xff" + (MAX_FRAME_BYTES + 1).to_bytes(8, "big") + b"\0\0\0\0")
        async with asyncio.timeout(60):
            answer = await reader.read()
        assert (1009).to_bytes(2, "big") in answer
        writer.close()
        await peer.send(Stats(id=12))
        assert (await peer.until(Stats)).reply_to == 12

    async def test_another_protocol_is_refused(self, peer: Peer) -> None:
        await peer.send(Hello(protocol=99, id=1))
        assert "99" in (await peer.until(Error)).message
        assert (await peer.until(Bye)).reason == "protocol"
        with pytest.raises(ConnectionClosed):
            await peer.until(Bye)


class TestFollowing:
    async def test_everyone_who_follows_all_sees_what_others_run(self, served: Served, peer: Peer) -> None:
        async with served.connect() as socket:
            other = served.peer(socket)
            await other.send(Subscribe(id=1))
            await other.until(Accepted)
            await peer.send(Run(id=1, target="flow.py", input=1))
            mine = await peer.until(Result)
            theirs = await other.until(Result)
            assert theirs.trace_id == mine.trace_id
            assert seqs(other.frames, mine.trace_id) == seqs(peer.frames, mine.trace_id)

    async def test_who_follows_nothing_sees_nothing_of_others(self, served: Served, peer: Peer) -> None:
        assert await still_serves(served)
        await peer.send(Stats(id=1))
        await peer.until(Stats)
        assert not [frame for frame in peer.frames if isinstance(frame, Result)]
        # What the host says of itself is for everybody, such as that it was late.
        assert {event["trace_id"] for frame in peer.frames if isinstance(frame, Events) for event in frame.events} <= {
            HOST_TRACE
        }

    @pytest.mark.parametrize("after", [-1, 0, 5])
    async def test_a_client_that_comes_back_misses_nothing(self, served: Served, peer: Peer, after: int) -> None:
        await peer.send(Run(id=1, target="flow.py", input={"chunks": 500, "sleep": 0.1}))
        trace_id = (await peer.until(Accepted)).trace_id
        await peer.until(Stream)
        async with served.connect() as socket:
            back = served.peer(socket)
            await back.send(Subscribe(traces=[trace_id], since={trace_id: after}))
            await back.until(Result)
        await peer.until(Result)
        everything = seqs(peer.frames, trace_id)
        assert everything == list(range(len(everything)))
        assert seqs(back.frames, trace_id) == everything[after + 1 :]

    async def test_a_trace_of_the_store_can_be_followed(self, served: Served, peer: Peer) -> None:
        await peer.send(Run(id=1, target="flow.py", input={"chunks": 10}))
        result = await peer.until(Result)
        everything = seqs(peer.frames, result.trace_id)
        async with served.connect() as socket:
            late = served.peer(socket)
            await late.send(Subscribe(traces=[result.trace_id]))
            assert (await late.until(Result)) == result
            assert seqs(late.frames, result.trace_id) == everything

    async def test_a_slow_client_loses_chunks_and_nothing_else(self, served: Served) -> None:
        async with served.connect() as socket, served.connect() as other:
            await socket.recv()
            socket.transport.pause_reading()
            given = {"chunks": 3000, "size": 20_000, "give": 10}
            await socket.send(Run(id=1, target="flow.py", input=given, trace_id="slow").model_dump_json())
            # Meanwhile everybody else is served.
            await self._until_done(served.peer(other), "slow")
            socket.transport.resume_reading()
            slow = served.peer(socket)
            await slow.until(Result)
        frames = slow.frames
        dropped = sum(frame.dropped for frame in frames if isinstance(frame, Stream))
        arrived = seqs(frames, "slow")
        assert dropped > 0
        assert arrived == sorted(set(arrived))
        events = [event for frame in frames if isinstance(frame, Events) for event in frame.events]
        kinds = [event["kind"] for event in events if event["trace_id"] == "slow"]
        assert "trace.start" in kinds
        assert kinds[-1] == "trace.end"
        assert len(arrived) + dropped == arrived[-1] + 1

    async def _until_done(self, client: Peer, trace_id: str) -> None:
        """Wait until a run is over, which may not have begun: a host knows no trace before its run."""
        while True:
            await client.send(Subscribe(traces=[trace_id]))
            if isinstance(await client.until(Result, Error), Result):
                return

    async def test_the_host_is_none_the_worse_for_all_of_this(self, served: Served) -> None:
        assert await still_serves(served)
