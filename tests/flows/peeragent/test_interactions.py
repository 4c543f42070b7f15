"""The log of interactions in MongoDB: the real client, and a server that speaks as much of the protocol as it needs."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import bson

Serve = Callable[..., Any]
QUERY, REPLY, MSG = 2004, 1, 2013
HELLO = {
    "ok": 1.0,
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "readOnly": False,
}


class Mongo:
    """Says that it is a server, and keeps what is inserted."""

    def __init__(self) -> None:
        self.port = 0
        self.kept: dict[str, list[dict[str, Any]]] = {}
        """Documents, by `database.collection`."""
        self.refuses = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length, request, _, code = struct.unpack("<iiii", await reader.readexactly(16))
                body = await reader.readexactly(length - 16)
                if code == QUERY:
                    told = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(HELLO)
                    self._write(writer, REPLY, request, told)
                else:
                    self._write(writer, MSG, request, struct.pack("<iB", 0, 0) + bson.encode(self._answer(body)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _write(self, writer: asyncio.StreamWriter, code: int, request: int, body: bytes) -> None:
        writer.write(struct.pack("<iiii", 16 + len(body), 0, request, code) + body)

    def _answer(self, body: bytes) -> dict[str, Any]:
        command, documents, place = {}, [], 4
        while place < len(body):
            kind, place = body[place], place + 1
            (size,) = struct.unpack_from("<i", body, place)
            section = body[place : place + size]
            if kind == 0:
                command = bson.decode(section)
            else:
                documents = bson.decode_all(section[section.index(b"\0", 4) + 1 :])
            place += size
        if "insert" not in command:
            return HELLO
        if self.refuses:
            return {"ok": 0.0, "errmsg": "not authorized", "code": 13}
        self.kept.setdefault(f"{command['$db']}.{command['insert']}", []).extend(documents or command["documents"])
        return {"ok": 1.0, "n": len(documents)}


@asynccontextmanager
async def mongo() -> AsyncIterator[Mongo]:
    known = Mongo()
    server = await asyncio.start_server(known.serve, "127.0.0.1", 0)
    known.port = server.sockets[0].getsockname()[1]
    try:
        yield known
    finally:
        server.close()


async def until_kept(known: Mongo, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while len(found := known.kept.get("logs.agent_logs", [])) < count:  # noqa: ASYNC110 - written beside the work
            await asyncio.sleep(0.01)
    return found


async def test_each_interaction_is_a_document(serve: Serve) -> None:
    async with mongo() as known:
        told = {"mongodb_url": f"mongodb://127.0.0.1:{known.port}", "mongodb_db_name": "logs"}
        async with serve(**told) as service:
            health = (await service.client.get("/health")).json()
            assert (health["status"], health["checks"]["mongodb"]) == ("healthy", "healthy")
            done = [await service.post("execute", {"task": f"Write a SQL query {number}"}) for number in range(3)]
            found = await until_kept(known, 3)
    assert [each["task_id"] for each in found] == [each["task_id"] for each in done]
    assert {each["agent_type"] for each in found} == {"code_agent"}
    assert all(isinstance(each["timestamp"], datetime) for each in found)
    assert found[0]["output_data"]["data"] == done[0]["data"]
    assert found[0]["duration_ms"] > 0


async def test_what_the_database_cannot_hold_takes_no_other_line_with_it(serve: Serve) -> None:
    async with mongo() as known:
        told = {"mongodb_url": f"mongodb://127.0.0.1:{known.port}", "mongodb_db_name": "logs"}
        async with serve(**told) as service:
            store, interactions = service.parts.store, service.parts.interactions
            done = await service.post("execute", {"task": "Write a SQL query"})
            task = await store.get(done["task_id"])
            odd = {"type": "x", "data": {"a\0b": [2**70, -(2**70), True, {"$set": 1, "c.d": None}]}}
            interactions.add(task.model_copy(update={"task_id": "odd", "result": odd}), 0.1)
            interactions.add(task.model_copy(update={"task_id": "after"}), 0.1)
            found = await until_kept(known, 3)
    assert [each["task_id"] for each in found[1:]] == ["odd", "after"]
    (values,) = found[1]["output_data"]["data"].values()
    assert values == [str(2**70), str(-(2**70)), True, {"$set": 1, "c.d": None}]


async def test_a_database_that_refuses_holds_up_nothing(serve: Serve) -> None:
    async with mongo() as known:
        known.refuses = True
        async with serve(mongodb_url=f"mongodb://127.0.0.1:{known.port}") as service:
            for _ in range(3):
                await service.post("execute", {"task": "Write a SQL query"})
            async with asyncio.timeout(60):
                while len(await service.parts.store.interactions()) < 3:  # noqa: ASYNC110 - written beside the work
                    await asyncio.sleep(0.01)
    assert known.kept == {}
