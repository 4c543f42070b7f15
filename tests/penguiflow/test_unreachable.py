"""What is said of a server that cannot be reached."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from penguiflow.state.postgres.address import parse_address
from penguiflow.state.postgres.driver import connect
from penguiflow.state.postgres.problems import DRIVER_ERRORS, explain
from penguiflow.unreachable import HANGS_UP, SILENT, distrusted, reason

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REFUSED = "the connection is refused; is the server running?"
BOTH = "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect call failed ('1', 1)"


def of_tls(text: str) -> ssl.SSLError:
    error = ssl.SSLError(1, text)
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), REFUSED),
        (OSError(BOTH.replace("111", str(errno.ECONNREFUSED))), REFUSED),
        (OSError(errno.ENETUNREACH, "no"), "no way leads to that host; is the network up?"),
        (FileNotFoundError(errno.ENOENT, "no"), "there is no such socket; is the server running?"),
        (socket.gaierror(socket.EAI_NONAME, "Name unknown"), "leads nowhere (Name unknown); is it spelled right?"),
        (TimeoutError(), SILENT),
        (ConnectionResetError(errno.ECONNRESET, "no"), HANGS_UP),
        (asyncio.IncompleteReadError(b"", 1), HANGS_UP),
        (of_tls("[SSL] wrong"), "it does not speak TLS (wrong version number)"),
        (OSError(errno.EIO, "the disk burns"), "the disk burns"),
        (ValueError("of something else"), ""),
    ],
)
def test_errors_of_connections_in_words(error: Exception, said: str) -> None:
    assert said in reason(error)
    assert not distrusted(error)
    wrapped = RuntimeError("what a client makes of it")
    wrapped.__cause__ = error
    assert reason(wrapped) == reason(error)


def test_a_certificate_that_is_not_trusted() -> None:
    error = ssl.SSLCertVerificationError(1, "no")
    error.verify_message = "self-signed certificate"
    assert reason(error) == "its certificate is not trusted (self-signed certificate)"
    assert distrusted(error)


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.close()


async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.write(b"N")
    writer.close()


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def said_of(place: str, query: str = "") -> str:
    """What a store in PostgreSQL says of an address, without the address."""
    address = parse_address(f"postgresql://ada:hunter2@{place}/flows{query}")
    with pytest.raises(DRIVER_ERRORS) as failed:
        await connect(address, timeout_s=60.0)
    said = str(explain(failed.value, address.place))
    assert said.startswith(f"postgresql://ada@{place}/flows{query} cannot be reached: ")
    assert "hunter2" not in said
    return said.partition(" cannot be reached: ")[2]


async def test_postgres_is_elsewhere() -> None:
    async with answering(hangs_up) as place:
        pass  # its port is nobody's now
    assert await said_of(place) == REFUSED
    assert "leads nowhere" in await said_of("nowhere.invalid:5432")


@pytest.mark.parametrize(
    ("answer", "query", "said"),
    [
        (hangs_up, "", "is the server running"),
        (web_server, "", "it does not speak TLS, or is no PostgreSQL"),
        (without_tls, "?sslmode=require", "sslmode=disable in the address does without"),
    ],
)
async def test_somebody_else_than_postgres_answers(answer: Answer, query: str, said: str) -> None:
    async with answering(answer) as place:
        assert said in await said_of(place, query)
