"""What streams made is kept shorter, and comes back byte for byte."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from penguiflow.recording import EventRecord, Recorder
from penguiflow.recording.payloads import encode_data
from penguiflow.state import schema
from penguiflow.state.chunks import pack, unpack

TRACE = "35804be465bbdd9220d6366e3e38ea2c"
MIDNIGHT = 1_795_000_000

texts = st.sampled_from(["", " ", '"', '","done":', '\\","done":false', "}", "{", "ü\n\u2028🐧", "\ud800"]) | st.text(
    max_size=5
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["chunk", "chunk", "send", "send", "take", "take", "other", "odd", "lost", "again"]),
        st.integers(0, 3),
        texts,
        st.sampled_from([None, None, None, 0, 7, -1, 10**18]),
        st.sampled_from([{}, {}, {"model": "m"}, {'","done":': 1}]),
        st.booleans(),
    ),
    max_size=60,
)


class Log:
    """Events of nodes that stream, in whatever order."""

    def __init__(self, chance: random.Random) -> None:
        self.records: list[EventRecord] = []
        self.epoch = 0
        self._chance = chance
        self._seq = 7
        self._micros = MIDNIGHT * 1_000_000
        self._offset = 0
        self._numbers = [0, 0, 0, 0]
        self._sent: list[tuple[str, str]] = []

    def add(self, kind: str, name: str, span: str, parent: str | None, data: dict[str, Any] | bytes) -> None:
        self._micros += self._chance.choice([0, 3, 20, 40, 1_000_000, -500])
        self._offset += self._chance.randrange(1_000_000)
        encoded = data if isinstance(data, bytes) else encode_data(data)
        ts = self._micros / 1e6
        about = (self._seq, self.epoch, TRACE, span, parent, ts, self._offset, kind, name, encoded)
        self.records.append(EventRecord._make(about))
        self._seq += 1

    def step(self, what: str, stream: int, text: str, seq: int | None, meta: dict[str, Any], flag: bool) -> None:
        span, parent = f"{stream % 2 + 1:x}", None if stream == 3 else "0"
        name = TRACE if stream < 2 else f'st"re->am{stream}'
        edge = f"writer{stream % 2}->{'Rookery' if flag else 'reader'}"
        about = {"stream_id": name, "chunk_seq": self._numbers[stream] - 1}
        if what == "chunk":
            number = self._numbers[stream] if seq is None else seq
            self._numbers[stream] = number + 1
            data = {"stream_id": name, "chunk_seq": number, "text": text, "done": flag, "meta": meta}
            self.add("stream.chunk", name, span, parent, data)
        elif what == "send":
            message_id = f"{self._chance.getrandbits(64):016x}" if text else "short"
            source, _, target = edge.partition("->")
            sent = {"message_id": message_id, "source": source, "target": target, **about}
            self.add("message.enqueued", edge, span, parent, sent if seq != 7 else {**sent, "headers": None})
            self._sent.append((edge, message_id))
        elif what == "take" and self._sent:
            edge, message_id = self._sent.pop(0 if flag else -1)
            taken: dict[str, Any] = {"message_id": message_id}
            self.add("message.dequeued", edge, "0", None, taken if seq != 7 else {**taken, "by": span})
        elif what == "odd":
            odd: list[dict[str, Any] | bytes] = [
                {"stream_id": name, "chunk_seq": 3, "text": {"$secret": "env:X"}, "done": flag, "meta": meta},
                {"stream_id": name, "chunk_seq": 4, "text": text, "done": flag, "meta": {}, "carried": [[1, 2]]},
                {"chunk_seq": 4, "stream_id": name},
                {},
                b"[]",
            ]
            self.add("stream.chunk", name, span, parent, self._chance.choice(odd))
        elif what == "lost":
            self._numbers[stream] += 1
        elif what == "again":
            self.epoch += 1
        else:
            self.add("message.enqueued", edge, span, parent, {"message_id": "0" * 16, "same_as": text})


def in_pieces(records: Sequence[EventRecord], chance: random.Random) -> list[Sequence[EventRecord]]:
    pieces, rest = [], records
    while rest:
        size = chance.randint(1, 20)
        pieces.append(rest[:size])
        rest = rest[size:]
    return pieces


def check(piece: Sequence[EventRecord]) -> None:
    chunk = unpack(pack(piece))
    assert [chunk.record(index, piece[0].seq, TRACE) for index in range(len(chunk.kinds))] == list(piece)


@given(steps, st.randoms(use_true_random=False))
def test_any_interleaving_comes_back_however_it_is_cut(moves: list[Any], chance: random.Random) -> None:
    log = Log(chance)
    for move in moves:
        log.step(*move)
    for piece in in_pieces(log.records, chance):
        check(piece)
    if log.records:
        check(log.records)


def streamed(chunks: int, streams: int = 1) -> list[EventRecord]:
    log = Log(random.Random(7))
    for number in range(chunks):
        for stream in range(streams):
            for what in ("chunk", "send", "take"):
                log.step(what, stream, "token ", None, {}, what != "chunk" or number == chunks - 1)
    return log.records


@pytest.mark.parametrize("streams", [1, 3])
def test_a_chunk_costs_its_text_its_id_and_a_little(streams: int) -> None:
    records = streamed(80 // streams, streams)
    check(records)
    size = len(pack(records)) / (len(records) / 3)
    by_itself = sum(len(pack([record])) for record in records) / (len(records) / 3)
    assert size < 90
    assert by_itself > 5 * size


def test_messages_of_a_chunk_that_was_kept_before_are_kept_shorter_too() -> None:
    records = streamed(3)
    chunk = unpack(pack(records[2:]))
    assert [chunk.record(index, 9, TRACE) for index in range(7)] == records[2:]
    assert len(pack(records[1:])) < len(pack(records[1:3])) + 2 * 120


def test_a_finer_clock_keeps_its_times() -> None:
    records = [record._replace(ts=record.ts + 1e-7) for record in streamed(3)]
    check(records)


def test_so_many_streams_that_not_all_are_kept_shorter() -> None:
    log = Log(random.Random(7))
    for number in range(200):
        data = {"stream_id": f"s{number}", "chunk_seq": 0, "text": "x", "done": False, "meta": {}}
        log.add("stream.chunk", f"s{number}", "1", "0", data)
    check(log.records)


def test_names_that_are_no_unicode_are_spelled_out() -> None:
    (record,) = streamed(1)[:1]
    stored = unpack(pack([record._replace(name="n\udc80")]))
    assert stored.names == ["n\\udc80"]
    assert stored.data == [record.data]


@given(st.data())
def test_damage_is_told(data: st.DataObject) -> None:
    records = streamed(4, 2)
    lines = pack(records).split(b"\n")
    head = from_json(lines[0])
    form = head[-1]
    where = data.draw(st.sampled_from(["times", "order", "shapes", "shape", "lines", "more", "fewer"]))
    junk = data.draw(st.none() | st.integers(-9, 99) | st.text(max_size=3) | st.lists(st.integers(0, 9), max_size=3))
    if where == "times":
        form[data.draw(st.integers(0, 1))] = junk
    elif where == "order":
        form[2] = form[2][1:]
    elif where == "shapes":
        form[3] = junk
    elif where == "shape":
        form[3][data.draw(st.integers(0, 5))] = junk
    elif where == "lines":
        del lines[data.draw(st.integers(1, len(lines) - 1))]
    elif where == "more":
        lines.append(b"{}")
    else:
        del form[3][-1]
    lines[0] = to_json(head)
    with pytest.raises(sqlite3.DatabaseError, match="cannot be read"):
        unpack(b"\n".join(lines))


class Sinks(list[EventRecord]):
    """Events as they were told."""

    def write(self, record: EventRecord) -> None:
        self.append(record)


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_read_is_what_was_told(open_store: Any, seed: int) -> None:
    chance, told, store = random.Random(seed), Sinks(), open_store()
    recorder = Recorder(told, store=store)
    for _ in range(3):
        log = recorder.open(TRACE)
        spans = [log.start("node", f"writer{number}", log.root) for number in range(2)]
        numbers = [0, 0]
        for _ in range(120):
            which = chance.randrange(2)
            span, stream = spans[which], chance.choice([TRACE, "other"])
            if chance.random() < 0.1:
                numbers[which] += chance.randrange(3)
            about = {"stream_id": stream, "chunk_seq": numbers[which]}
            log.event("stream.chunk", stream, span, {**about, "text": "token ", "done": False, "meta": {}})
            for target in ("Rookery", "reader")[: chance.randrange(3)]:
                edge, message_id = f"writer{which}->{target}", f"{chance.getrandbits(64):016x}"
                ends = {"message_id": message_id, "source": f"writer{which}", "target": target}
                log.event("message.enqueued", edge, span, {**ends, **about})
                if target == "Rookery":
                    log.event("message.dequeued", edge, log.root, {"message_id": message_id})
            numbers[which] += 1
            if chance.random() < 0.1:
                await store.flush()
        log.close("ok")
    await store.flush()
    assert await store.load_event_bytes(TRACE) == [record.to_json() for record in told]
    events = [record.decode() for record in told]
    assert await store.load_events(TRACE) == events
    assert await store.load_events(TRACE, after=200, limit=77) == events[201:278]
    chunks = [event for event in events if event.kind == "stream.chunk"]
    assert await store.load_events(TRACE, kinds=["stream.*"]) == chunks


async def test_a_database_of_the_version_before_is_read_and_goes_on(
    tmp_path: Path, open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    told = Sinks()
    with monkeypatch.context() as patched:
        patched.setattr("penguiflow.state.chunks.take_out", lambda columns: None)
        store = open_store(path)
        recorder = Recorder(told, store=store)
        log = recorder.open(TRACE)
        about = {"text": "token ", "done": False, "meta": {}}
        for number in range(3):
            log.event("stream.chunk", TRACE, log.root, {"stream_id": TRACE, "chunk_seq": number, **about})
        await store.flush()
        await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
        for table in ("shared_traces", "shared_rows", "shared_handled", "workers"):
            connection.execute(f"DROP TABLE {table}")
    reader = open_store(path, read_only=True)
    assert await reader.load_event_bytes(TRACE) == [record.to_json() for record in told]
    await reader.close()
    store = open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    log = Recorder(store=store).open(TRACE)
    log.event("stream.chunk", TRACE, log.root, {"stream_id": TRACE, "chunk_seq": 3, **about})
    await store.flush()
    found = await store.load_events(TRACE, kinds=["stream.chunk"])
    assert [event.data["chunk_seq"] for event in found] == [0, 1, 2, 3]
    assert [event.seq for event in found] == [1, 2, 3, 5]
