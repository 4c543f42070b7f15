"""What is said when a bus does not open: no such name, nobody there, somebody else, no TLS, no entry, too old."""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from penguiflow.bus import BusAway, BusError, BusRefused, BusTooOld, Limits, NatsBus, RedisBus, nats_link, redis_server
from penguiflow.bus.nats_client import NatsClient, explain
from penguiflow.bus.nats_link import NatsLink
from penguiflow.bus.nats_stream import Place
from penguiflow.bus.waiting import Patience
from tests.bus_servers import NatsServer

WAIT_S = 60.0
EDGE = "a->b"
OTHERS = "is it another service's port?"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    """A bus at an address, not yet open; closed after the test."""
    made: list[Any] = []

    def one(url: str, **limits: Any) -> Any:
        make: Any = NatsBus if url.startswith(("nats", "tls")) else RedisBus
        made.append(make(url, limits=Limits(**{"start_s": WAIT_S, **limits})))
        return made[-1]

    yield one
    for bus in made:
        await bus.close()


@pytest.mark.parametrize("make", [NatsBus, RedisBus])
@pytest.mark.parametrize("url", ["", "localhost:1", "http://user:hunter2@localhost:1", "/tmp/socket"])
def test_an_address_that_is_none(make: Any, url: str) -> None:
    with pytest.raises(BusError, match="is no address of a") as caught:
        make(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "place", ["localhost:port", "localhost:99999", "hunter2/x#y@localhost:1", "hunter2[@localhost:1"]
)
@pytest.mark.parametrize(("make", "scheme"), [(NatsBus, "nats"), (RedisBus, "redis")])
def test_an_address_that_cannot_be_read(make: Any, scheme: str, place: str) -> None:
    with pytest.raises(BusError, match="is no address of a") as caught:
        make(f"{scheme}://user:{place}" if "@" in place else f"{scheme}://{place}")
    assert "hunter2" not in str(caught.value)


@asynccontextmanager
async def answering(answer: Answer, inside: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server of our own, within TLS if there is a context; its host and port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=inside)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await reader.read()  # what nobody has read when a connection ends takes the answer with it
    writer.close()


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("make", "scheme", "answer", "why"),
    [
        (NatsBus, "nats", nobody, f"does not greet as a NATS does; {OTHERS}"),
        (NatsBus, "nats", web_server, f"does not greet as a NATS does; {OTHERS}"),
        (RedisBus, "redis", nobody, "it hangs up: another service listens there, or one that wants TLS"),
        (RedisBus, "redis", web_server, f"does not speak as a Redis does; {OTHERS[:-1]}, or one that wants TLS?"),
    ],
)
async def test_somebody_else_answers(make: Any, scheme: str, answer: Answer, why: str, one_attempt: None) -> None:
    async with answering(answer) as address:
        bus = make(f"{scheme}://user:hunter2@{address}", limits=Limits(start_s=WAIT_S))
        with pytest.raises(BusAway, match=f"^no (NATS|Redis) answers at {scheme}://{address}, for 60 s: ") as caught:
            await bus.open("f", [EDGE])
        assert why in str(caught.value)
        assert "hunter2" not in str(caught.value)
        await bus.close()


@pytest.mark.parametrize(
    ("make", "scheme", "why"),
    [
        (NatsBus, "nats", f"says nothing, where a NATS greets; {OTHERS[:-1]}, or one that wants TLS"),
        (RedisBus, "redis", f"says nothing; {OTHERS}"),
    ],
)
async def test_somebody_says_nothing(make: Any, scheme: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(says_nothing) as address:
        # On a busy machine the connection itself may take as long.
        for start_s in (0.5, 5.0, WAIT_S):
            monkeypatch.setattr(redis_server, "_COMMAND_S", start_s)
            bus = make(f"{scheme}://user:hunter2@{address}", limits=Limits(start_s=start_s))
            with pytest.raises(BusAway, match=f"answers at {scheme}://{address}, for {start_s:g} s: ") as caught:
                await bus.open("f", [EDGE])
            await bus.close()
            if why in str(caught.value):
                break
        assert why in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("make", "scheme"), [(NatsBus, "nats"), (RedisBus, "redis")])
async def test_nobody_answers(make: Any, scheme: str, one_attempt: None) -> None:
    async with answering(nobody) as address:
        pass  # its port is nobody's now
    for place, why in (
        (address, "the connection is refused; is the server running?"),
        ("nowhere.invalid:4222", "the host's name leads nowhere ("),
    ):
        bus = make(f"{scheme}://user:hunter2@{place}", limits=Limits(start_s=WAIT_S))
        with pytest.raises(BusAway, match=f"^no (NATS|Redis) answers at {scheme}://{place}, for 60 s: ") as caught:
            await bus.open("f", [EDGE])
        assert why in str(caught.value)
        assert "hunter2" not in str(caught.value)
        await bus.close()


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not there at the first attempt is not waited for."""
    for module in (nats_link, redis_server):
        monkeypatch.setattr(module, "Backoff", lambda *_: lambda: math.inf)


@pytest.mark.parametrize(("make", "scheme"), [(NatsBus, "nats"), (RedisBus, "redis")])
async def test_a_server_is_tried_until_the_patience_is_over(make: Any, scheme: str) -> None:
    tried = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        if tried == 3:
            over.set()
        writer.close()

    over = asyncio.Event()
    async with answering(count) as address:
        bus = make(f"{scheme}://{address}", limits=Limits(start_s=WAIT_S))
        opening = asyncio.ensure_future(bus.open("f", [EDGE]))
        async with asyncio.timeout(WAIT_S):
            await over.wait()
        opening.cancel()
        await asyncio.wait([opening])
        await bus.close()
    bus = make(f"{scheme}://{address}", limits=Limits(start_s=0.3))
    with pytest.raises(BusAway, match=f"no (NATS|Redis) answers at {scheme}://{address}, for 0.3 s: "):
        await bus.open("f", [EDGE])
    await bus.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "penguin")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    for name_, data in (
        ("cert.pem", signed.public_bytes(Encoding.PEM)),
        ("key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
    ):
        (folder / name_).write_bytes(data)
    return folder / "cert.pem", folder / "key.pem"


async def test_nats_and_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    cert, key = certificate(tmp_path)
    password = "hunter2"
    for flags, plain in (([], True), (["--tls", "--tlscert", str(cert), "--tlskey", str(key)], False)):
        server = NatsServer(password, host="127.0.0.1", flags=flags)
        try:
            await asyncio.to_thread(server.start)
            secure = server.url.replace("nats://", "tls://")
            if plain:
                # The password does not leave this process.
                with pytest.raises(BusError, match=r"the NATS at tls://127\S+ speaks no TLS: nothing was sent to it"):
                    await connect(secure).open("f", [EDGE])
                continue
            for url in (server.url, secure):
                with monkeypatch.context() as once:
                    once.setattr(nats_link, "Backoff", lambda *_: lambda: math.inf)
                    with pytest.raises(
                        BusAway, match=r"^no safe connection .*: its certificate is not trusted"
                    ) as seen:
                        await connect(url).open("f", [EDGE])
                assert password not in str(seen.value)
            monkeypatch.setenv("SSL_CERT_FILE", str(cert))
            await connect(server.url).open("f", [EDGE])
            await connect(secure).open("f", [EDGE])
            with pytest.raises(BusRefused, match="does not let us in: Authorization Violation; the address says"):
                await connect(secure.replace(password, "mistaken")).open("f", [EDGE])
        finally:
            server.remove()


async def test_redis_and_tls(tmp_path: Path, one_attempt: None, connect: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    for scheme, answer, inside, why in (
        (
            "rediss",
            says_nothing,
            context,
            r"^no safe connection to the Redis at rediss\S+, for 60 s: its cert",
        ),
        ("redis", says_nothing, context, "another service.*, or one that wants TLS"),
        ("rediss", web_server, None, "it does not speak TLS"),
    ):
        async with answering(answer, inside) as address:
            with pytest.raises(BusAway, match=why) as caught:
                await connect(f"{scheme}://user:hunter2@{address}").open("f", [EDGE])
            assert "hunter2" not in str(caught.value)


async def test_a_server_that_goes_on_answering_is_not_away(nats_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening takes four times as long as a server may say nothing."""
    loop, skipped = asyncio.get_running_loop(), 0.0
    clock = loop.time
    link = NatsLink(nats_server.url, Limits(start_s=WAIT_S))

    async def open_many(client: Any, patience: Patience) -> None:
        nonlocal skipped
        for number in range(5):
            skipped += 0.8 * WAIT_S
            await client.flush(timeout=int(WAIT_S))
            patience.answered(f"{number + 1} of 5 edges are open")

    link.on_connect = open_many
    monkeypatch.setattr(loop, "time", lambda: clock() + skipped)
    try:
        await link.ready(WAIT_S)
    finally:
        monkeypatch.undo()
        await link.close()


async def test_how_far_an_opening_came_is_told(nats_server: Any, one_attempt: None) -> None:
    edges = [f"a->b{number}" for number in range(300)]
    client = NatsClient(secure=False)
    await client.connect(nats_server.url)
    patience = Patience(WAIT_S)
    async with patience.bound() as bound:
        began = bound.when() or 0.0
        await Place("far", edges, Limits()).make(client, "here", patience)
        assert patience.told == "300 of 300 edges are open"
        assert (bound.when() or 0.0) > began
        await Place("far", edges, Limits()).make(client, "here", patience)
        assert patience.told == "300 edges were looked at"
    said = explain(client, TimeoutError(), "nats://host", patience)
    assert said == "the NATS at nats://host says nothing more, for 60 s; 300 edges were looked at"
    await client.close()


async def old_redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    said = b"redis_version:6.0.16\r\n"
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            if line.upper().strip() == b"INFO":
                writer.write(b"$%d\r\n%b\r\n" % (len(said), said))
            elif line.upper().strip() in (b"CLIENT", b"HELLO", b"SELECT"):
                writer.write(b"+OK\r\n")
    writer.close()


async def old_nats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576,"jetstream":true}\r\n')
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("make", "scheme", "answer", "match"),
    [
        (NatsBus, "nats", old_nats, r"is NATS 2\.9; edges need 2\.10"),
        (RedisBus, "redis", old_redis, r"is Redis 6\.0\.16; edges need 6\.2 or newer"),
    ],
)
async def test_a_server_that_is_too_old(make: Any, scheme: str, answer: Answer, match: str) -> None:
    async with answering(answer) as address:
        bus = make(f"{scheme}://{address}", limits=Limits(start_s=WAIT_S))
        with pytest.raises(BusTooOld, match=match):
            await bus.open("f", [EDGE])
        await bus.close()


async def test_a_wrong_password(guarded_server: Any, connect: Any) -> None:
    right = guarded_server.url
    bus = connect(right)
    await bus.open("f", [EDGE])
    secret = urlsplit(right).password
    assert secret
    for url in (right.replace(secret, "wrong"), right.replace(f"penguin:{secret}@", "").replace(f":{secret}@", "")):
        stranger = connect(url)
        with pytest.raises(BusRefused, match="does not let us in") as caught:
            await stranger.open("f", [EDGE])
        assert secret not in str(caught.value)
    assert urlsplit(right).hostname is None or secret not in bus._link.name
