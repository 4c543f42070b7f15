"""Payloads and headers that are encoded once stay what they are in the log, whatever becomes of the objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from penguiflow import Headers, Message
from penguiflow.recording import EventRecord, Recorder
from penguiflow.recording.masking import Masker
from penguiflow.recording.payloads import encode_payload


class Sink(list[EventRecord]):
    def write(self, record: EventRecord) -> None:
        self.append(record)


class Plain(BaseModel):
    text: str
    number: int | None = None
    tags: list[str] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: str


class Loose(BaseModel):
    thing: Any


class Key(BaseModel):
    api_key: str


class Hidden(BaseModel):
    secret: SecretStr


class Float(BaseModel):
    number: float


def data_of(sink: Sink) -> list[Any]:
    return [json.loads(record.data) for record in sink if record.kind == "message.enqueued"]


def changes(value: Any) -> list[Callable[[], Any]]:
    """What a node may do to it."""
    return [
        lambda: None,
        lambda: setattr(value, "number", 1),
        lambda: setattr(value, "number", True),
        lambda: value.__dict__.__setitem__("number", 1.0),
        lambda: value.tags.append("a"),
        lambda: value.tags.append("b"),
        lambda: value.tags.reverse(),
        lambda: value.tags.__setitem__(0, 7),
        lambda: setattr(value, "tags", ["a"]),
        lambda: setattr(value, "tags", ("a",)),
        lambda: setattr(value, "tags", [["a"]]),
        lambda: value.tags[0].append("b"),
        lambda: setattr(value, "tags", ["a"] * 100),
        lambda: value.tags.append("c"),
        lambda: setattr(value, "tags", iter("ab")),
        lambda: setattr(value, "tags", []),
        lambda: setattr(value, "text", "a\udc80"),
        lambda: setattr(value, "text", "⟦$secret"),
        lambda: setattr(value, "number", 10**5000),
        lambda: value.__dict__.pop("number"),
    ]


def test_each_change_is_seen() -> None:
    sink = Sink()
    masker = Masker(environment={})
    log = Recorder(sink, masker=masker).open("t")
    value = Plain(text="x", number=10**6)
    expected = []
    for change in changes(value):
        change()
        for _ in range(2):
            log.put("a->b", log.root, "1", value, None)
            expected.append(json.loads(Masker(environment={}).payload(value)))
    # As texts: 1, 1.0 and True are equal.
    assert [json.dumps(data["payload"]) for data in data_of(sink)] == [json.dumps(each) for each in expected]
    assert len(set(map(json.dumps, expected))) > 15


@pytest.mark.parametrize(
    "value",
    [
        Plain(text="x", tags=["a"]), Open(text="x"), Open.model_validate({"text": "x", "more": [1]}),
        Loose(thing=Plain(text="y")), Loose(thing=3), Float(number=1.5), Float(number=float("nan")),
        Hidden(secret=SecretStr("hush")), Key(api_key="hush"), "text", None, 3, {"api_key": "hush"}, ["a"],
        Plain.model_construct(text=3, tags=[{}]),
        Plain.model_construct(text=b"\xff"), Plain(text="⟦$secret env:HOME⟧"), Plain(text="a" * 400),
    ],
    ids=str,
)  # fmt: skip
def test_a_payload_is_what_it_would_be_by_itself(value: Any) -> None:
    masker = Masker(environment={"SOME_TOKEN": "abcdefgh12345"})
    alone = masker.mask(encode_payload(value, masker._hide))
    assert json.loads(masker.payload(value)) == json.loads(alone)
    for _ in range(2):
        known = masker.payload_of(value)
        assert json.loads(known.payload) == json.loads(alone)
        assert known.value is None or known.is_same(masker.secrets)


def test_a_secret_that_appears_is_hidden_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    masker = Masker(environment=environment)
    sink = Sink()
    log = Recorder(sink, masker=masker).open("t")
    value = Plain(text="abcdefgh12345")
    headers = Headers(tenant="abcdefgh12345")
    message = Message(payload=value, headers=headers)
    log.put("a->b", log.root, "1", value, message)
    environment["SOME_TOKEN"] = value.text
    masker._looked = 0.0
    masker.look_again()
    log.put("a->b", log.root, "2", value, message.model_copy(update={"headers": headers.model_copy()}))
    before, after = data_of(sink)
    assert before["payload"]["value"]["text"] == before["headers"]["tenant"] == value.text
    assert after["payload"]["value"]["text"] == after["headers"]["tenant"] == {"$secret": "env:SOME_TOKEN"}


class More(Headers):
    extra: str = "more"


def test_headers_are_told_as_they_are() -> None:
    sink = Sink()
    recorder = Recorder(sink)
    odd = Headers.model_construct(tenant="a", topic=None, priority=True)
    given = [
        Headers(tenant="a"), Headers(tenant="a", topic="b"), Headers(tenant="a", topic="b", priority=1), odd,
        Headers(tenant="a", priority=1), Headers(tenant="b", priority=1),
        More(tenant="a"), Headers(tenant="a"),
    ]  # fmt: skip
    for number, headers in enumerate([*given, *given]):
        log = recorder.open(f"t{number}")
        meta = {"number": number} if number % 2 else {}
        log.put("a->b", log.root, "1", "x", Message(payload="x", headers=headers, meta=meta, deadline_s=None))
    told = data_of(sink)
    assert [repr(data["headers"]) for data in told] == [repr(headers.model_dump()) for headers in [*given, *given]]
    assert [data["meta"] for data in told] == [{"number": number} if number % 2 else {} for number in range(len(told))]
    assert {data["deadline_s"] for data in told} == {None}
