"""Names on a server, and addresses that are shown."""

from __future__ import annotations

import re
from typing import Any

import pytest

from penguiflow.bus.naming import shown, token
from penguiflow.bus.protocol import Limits


@pytest.mark.parametrize("name", ["a", "a->b", "a b.c*>", "é\n", "x" * 5000, "=", "a=3E"])
def test_every_name_is_one_word(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_=-]{1,150}", token(name))


def test_two_names_are_two_words() -> None:
    names = ["a->b", "a-=3Eb", "a-b", "a b", "a_b", "A", "a", "x" * 200, "x" * 201, "x" * 200 + "y", "é", "e"]
    assert len({token(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://user:secret@host:6379/0?password=secret", "redis://host:6379/0"),
        ("nats://user:se%40cret@host:4222", "nats://host:4222"),
        ("unix://:secret@/tmp/socket", "unix:///tmp/socket"),
        ("nats://[::1", "nats://[::1"),
        ("redis://user:secret@[::1", "redis://[::1"),
        ("redis://:se/cret#cret@host", "redis://host"),
        ("redis://host?password=a@secret", "redis://…"),
        ("redis://:se?cret@host", "redis://…"),
        ("user:secret@host", "host"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, told: str) -> None:
    assert shown(url) == told
    assert "cret" not in told


@pytest.mark.parametrize(
    "limits", [{"capacity": -1}, {"max_deliveries": 0}, {"lease_s": 0.0}, {"away_s": -1.0}, {"dedupe_s": float("nan")}]
)
def test_limits_that_are_none(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        Limits(**limits)
