"""A secret that arrives in pieces is hidden; everything else of a stream is exact."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.masking import Masker
from penguiflow.recording.streams import chunk_texts

SECRET, OTHER = "sk-sk-secret-1", "abcabcabd"
ENVIRONMENT = {"MY_TOKEN": SECRET, "MY_API_KEY": OTHER}
MARKS = {SECRET: "⟦$secret env:MY_TOKEN⟧", OTHER: "⟦$secret env:MY_API_KEY⟧"}


class Keep:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


def recorded(texts: list[str], *, done: bool = True) -> list[TraceEvent]:
    sink = Keep()
    log = Recorder(sink, masker=Masker(environment=ENVIRONMENT)).open("t")
    span = log.start("node", "writer", log.root)
    for number, text in enumerate(texts):
        last = done and number == len(texts) - 1
        data = {"stream_id": "s", "chunk_seq": number, "text": text, "done": last, "meta": {}}
        log.event("stream.chunk", "s", span, data)
    log.close("ok")
    return [record.decode() for record in sink.records]


def joined(events: list[TraceEvent]) -> str:
    return "".join(event.data["text"] for event in events if event.kind == "stream.chunk")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_a_secret_in_pieces(size: int) -> None:
    text = f"the key is {SECRET}, and {OTHER}{SECRET}!"
    events = recorded([text[at : at + size] for at in range(0, len(text), size)])
    shown = joined(events)
    for secret in (SECRET, OTHER):
        assert secret not in shown
    shown_as_whole = text.replace(SECRET, MARKS[SECRET]).replace(OTHER, MARKS[OTHER])
    assert shown == shown_as_whole
    assert "".join(chunk_texts(events).values()) == shown_as_whole


def test_what_only_looks_like_one_is_exact() -> None:
    texts = ["a s", "k-", "s", "ky s", "", "k-sk-secret", "-2 abc", "abc"]
    events = recorded(texts)
    assert list(chunk_texts(events).values()) == texts
    assert any("carried" in event.data for event in events)


@given(st.lists(st.text("sk-abcde1 ", max_size=6), min_size=1, max_size=8), st.booleans())
def test_texts_without_a_secret_are_exact(texts: list[str], done: bool) -> None:
    events = recorded(texts, done=done)
    whole = "".join(texts)
    if SECRET in whole or OTHER in whole:
        return
    assert joined(events) == whole
    assert [text for _, text in sorted(chunk_texts(events).items())] == texts


@given(st.data())
def test_however_it_is_cut_nothing_of_it_is_left(data: Any) -> None:
    whole = data.draw(st.lists(st.sampled_from([SECRET, OTHER, "s", "sk-", "abc", " x "]), max_size=5).map("".join))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    events = recorded([whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])])
    masker = Masker(environment=ENVIRONMENT)
    found = from_json(masker.encode({"text": whole}))["text"]
    # A text that is a secret as a whole is no text any more when it is stored as one.
    assert joined(events) in (found, MARKS.get(whole))


def test_two_nodes_may_write_to_streams_of_one_name(capsys: Any) -> None:
    sink = Keep()
    log = Recorder(sink, masker=Masker(environment=ENVIRONMENT)).open("t")
    spans = [log.start("node", name, log.root) for name in ("a", "b")]
    for number, text in enumerate(["s", "k"]):
        for span in spans:
            about = {"stream_id": "s", "chunk_seq": number, "text": text, "done": number == 1, "meta": {}}
            log.event("stream.chunk", "s", span, about)
    log.close("ok")
    assert joined([record.decode() for record in sink.records]) == "sksk"


def test_without_secrets_nothing_is_held() -> None:
    sink = Keep()
    log = Recorder(sink, masker=Masker(environment={})).open("t")
    log.event("stream.chunk", "s", log.root, {"stream_id": "s", "chunk_seq": 0, "text": "s", "done": False, "meta": {}})
    log.close("ok")
    assert [record.kind for record in sink.records] == ["trace.start", "stream.chunk", "trace.end"]
