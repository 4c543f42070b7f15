"""A bus from its address."""

from __future__ import annotations

import sys

import pytest

from penguiflow.bus import BusError, EdgeBus, Limits, MemoryBus, NatsBus, RedisBus, open_bus
from penguiflow.bus.opening import address_of, another_bus


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://user:secret@host:6379/0", RedisBus),
        ("rediss://host", RedisBus),
        ("unix://:secret@/tmp/socket", RedisBus),
        ("valkey://:secret@host", RedisBus),
        ("valkeys://host", RedisBus),
        ("VALKEY://host", RedisBus),
        ("nats://user:secret@host:4222", NatsBus),
        ("tls://host:4222", NatsBus),
        ("memory:", MemoryBus),
        ("memory://", MemoryBus),
    ],
)
def test_the_scheme_says_which_bus(url: str, kind: type[EdgeBus]) -> None:
    bus = open_bus(url, Limits(capacity=7))
    assert type(bus) is kind
    assert bus.limits.capacity == 7
    assert "secret" not in address_of(bus)
    again = another_bus(bus)
    if kind is MemoryBus:
        assert again is None
        assert address_of(bus) == "a MemoryBus of this process"
    else:
        assert type(again) is kind
        assert again is not bus
        assert again.limits == bus.limits
        assert address_of(again) == address_of(bus)


@pytest.mark.parametrize(
    "url", ["", "localhost", "kafka://user:secret@host", "http://secret@host", "redis://:secret@[::1", "redis", "nats:"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(BusError, match="no address") as caught:
        open_bus(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("url", "extra"), [("redis://:secret@host", "redis"), ("nats://secret@host", "nats")])
def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
    import penguiflow.bus

    name = "RedisBus" if extra == "redis" else "NatsBus"
    monkeypatch.delitem(penguiflow.bus.__dict__, name, raising=False)
    for module in [each for each in sys.modules if each.partition(".")[0] == extra]:
        monkeypatch.delitem(sys.modules, module)
    for module in [each for each in sys.modules if each.startswith(f"penguiflow.bus.{extra}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(BusError, match=rf"pip install 'penguiflow\[{extra}\]'") as caught:
        open_bus(url)
    assert "secret" not in str(caught.value)
