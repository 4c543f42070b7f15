"""Secrets are hidden, comparable, and can be filled in again where they came from the environment."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import from_json, to_json

from penguiflow.observer import Payload
from penguiflow.recording.failures import exception_to_data
from penguiflow.recording.masking import Masker, MaskingRules
from penguiflow.recording.plain import MAX_REPR_CHARS
from penguiflow.recording.rebuilding import rebuild
from penguiflow.recording.unmasking import unmask

ENVIRONMENT = {
    "SHOP_API_KEY": "sk-planted-0123456789",
    "OTHER_TOKEN": 'quote"and\\slash',
    "SHORT_TOKEN": "abc",
    "DULL_PASSWORD": "disabled",
    "HOME": "/home/somebody-or-other",
    "DSN": "postgres://user:pw@host/db",
}
KEY = ENVIRONMENT["SHOP_API_KEY"]


class Login(BaseModel):
    user: str
    password: SecretStr
    raw: SecretBytes = SecretBytes(b"")


@pytest.fixture
def masker() -> Masker:
    return Masker(environment=ENVIRONMENT)


def masked(masker: Masker, value: Any) -> Any:
    return from_json(masker.encode({"payload": Payload(value)}))["payload"]["value"]


def is_hidden(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"$secret"} and value["$secret"].startswith("hmac:")


def test_secret_fields_are_hidden_and_can_be_compared(masker: Masker) -> None:
    first = masked(masker, Login(user="a", password=SecretStr("hunter2"), raw=SecretBytes(b"\xff\x00")))
    assert first["user"] == "a"
    assert is_hidden(first["password"])
    assert is_hidden(first["raw"])
    again = masked(masker, [Login(user="b", password=SecretStr("hunter2")), Login(user="c", password=SecretStr("x"))])
    assert again[0]["password"] == first["password"] != again[1]["password"]
    assert again[0]["raw"] == ""


@pytest.mark.parametrize(
    "key", ["api_key", "X-Api-Key", "apiKey", "Authorization", "accessToken", "password", "client_secret", "Set-Cookie"]
)
def test_keys_that_hold_secrets(masker: Masker, key: str) -> None:
    assert is_hidden(masked(masker, {key: "v"})[key])
    assert is_hidden(masked(masker, [{"deep": {key: ["v"]}}])[0]["deep"][key][0])
    assert is_hidden(from_json(masker.encode({"headers": {key: "v"}}))["headers"][key])


@pytest.mark.parametrize(
    "key", ["tokens_used", "max_tokens", "keyboard", "secretary", "key", "duration", "passwords_n", "resume_token"]
)
def test_keys_that_hold_none(masker: Masker, key: str) -> None:
    assert masked(masker, {key: "v"}) == {key: "v"}


def test_what_is_no_secret_under_such_a_key(masker: Masker) -> None:
    value: dict[str, Any] = {"token": 17, "password": None, "secret": True, "cookie": "", "authorization": {}}
    assert masked(masker, value) == value
    assert is_hidden(masked(masker, {"password": 1234})["password"])


def test_the_value_of_a_variable_anywhere(masker: Masker) -> None:
    assert masked(masker, {"x": KEY}) == {"x": {"$secret": "env:SHOP_API_KEY"}}
    assert masked(masker, f"use {KEY}, please") == "use ⟦$secret env:SHOP_API_KEY⟧, please"
    assert masked(masker, {f"k {KEY}": [f"{KEY}{KEY}"]}) == {
        "k ⟦$secret env:SHOP_API_KEY⟧": ["⟦$secret env:SHOP_API_KEY⟧⟦$secret env:SHOP_API_KEY⟧"]
    }
    assert masked(masker, {"authorization": f"Bearer {KEY}"}) == {"authorization": "Bearer ⟦$secret env:SHOP_API_KEY⟧"}
    assert is_hidden(masked(masker, {"authorization": f"Digest {KEY} and more"})["authorization"])
    quoted = ENVIRONMENT["OTHER_TOKEN"]
    assert masked(masker, f"<{quoted}>") == "<⟦$secret env:OTHER_TOKEN⟧>"
    for text in (f"<{quoted!r}>", "q=quote%22and%5Cslash"):
        assert "slash" not in str(masked(masker, text))


def test_values_that_say_nothing_are_left_alone(masker: Masker) -> None:
    for text in ("abc", "disabled", ENVIRONMENT["HOME"], ENVIRONMENT["DSN"]):
        assert masked(masker, {"x": text, "y": f"<{text}>"}) == {"x": text, "y": f"<{text}>"}


def test_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = MaskingRules(keys=("pin",), environment=("DSN",), harmless=("not_a_pin",))
    masker = Masker(rules=rules, environment=ENVIRONMENT)
    found = masked(masker, {"PIN": "12", "not_a_pin": "1", "password": "p", "x": f"<{ENVIRONMENT['DSN']}>", "k": KEY})
    assert is_hidden(found["PIN"])
    assert found["not_a_pin"], found["password"] == ("1", "p")
    assert found["x"] == "<⟦$secret env:DSN⟧>"
    assert found["k"] == KEY


def test_a_variable_that_is_set_later_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    masker = Masker(environment=environment)
    environment["NEW_TOKEN"] = "brand-new-value"
    monkeypatch.setattr("penguiflow.recording.masking._LOOK_AGAIN_S", 0.0)
    masker.look_again()
    assert masked(masker, "brand-new-value") == {"$secret": "env:NEW_TOKEN"}
    # What was a secret is not forgotten: it may still be on its way.
    del environment["NEW_TOKEN"]
    masker.look_again()
    assert masked(masker, "brand-new-value") == {"$secret": "env:NEW_TOKEN"}


def test_filled_in_again(masker: Masker) -> None:
    value = {"x": KEY, "t": [f"a {KEY} b"], "h": {"Authorization": f"Bearer {KEY}"}, "password": "p"}
    stored = from_json(masker.encode({"payload": Payload(value)}))["payload"]
    filled, missing = unmask(stored["value"], ENVIRONMENT, at="/payload")
    assert missing == ["/payload/password"]
    assert filled == {**value, "password": stored["value"]["password"]}
    _, missing = unmask(stored["value"], {}, at="/payload")
    assert missing == ["/payload/x", "/payload/t/0", "/payload/h/Authorization", "/payload/password"]


def test_objects_with_secrets_of_the_environment_are_built_again(masker: Masker) -> None:
    login = Login(user="a", password=SecretStr(KEY))
    stored = masker.frozen([login])
    filled, missing = unmask(stored, ENVIRONMENT)
    assert not missing
    assert rebuild(filled) == [login]


LOOKS = st.sampled_from(
    ["⟦$secret env:HOME⟧", "⟦$$", "⟦$", "⟦", "$secret", "$$secret", "env:HOME", "hmac:00", KEY, "x", "token", "…", "⟧"]
)
LOOKALIKES = st.recursive(
    st.lists(LOOKS, max_size=4).map("".join),
    lambda inner: st.dictionaries(st.lists(LOOKS, max_size=2).map("".join), inner, max_size=3) | st.lists(inner),
    max_leaves=6,
)


@given(LOOKALIKES)
def test_nobody_gets_a_secret_by_writing_its_name(value: Any) -> None:
    """Whatever a payload (or a model that wrote it) says, filling in gives what was there, and nothing else."""
    masker = Masker(rules=MaskingRules(keys=("no-such-key",), environment=("SHOP_API_KEY",)), environment=ENVIRONMENT)
    encoded = masker.encode({"value": value})
    assert KEY.encode() not in encoded
    assert unmask(from_json(encoded), ENVIRONMENT) == ({"value": value}, [])


@given(LOOKALIKES)
def test_what_was_hidden_is_not_hidden_again(value: Any) -> None:
    masker = Masker(environment=ENVIRONMENT)
    once = masker.frozen(value)
    assert from_json(masker.encode({"request": once, "list": [once]})) == {"request": once, "list": [once]}
    assert masker.frozen(value) == once


def test_texts_that_were_cut_hold_no_half_of_a_secret(masker: Masker) -> None:
    class Odd:
        def __repr__(self) -> str:
            return "x" * (MAX_REPR_CHARS - 8) + KEY

    encoded = masker.encode({"payload": Payload(Odd())})
    assert b"sk-pla" not in encoded
    try:
        raise ValueError("m" * (MAX_REPR_CHARS - 8) + KEY)
    except ValueError as error:
        data = exception_to_data(error, masker.early)
    encoded = masker.encode({"error": data})
    assert b"sk-pla" not in encoded


def test_tracebacks_and_reprs_show_no_assigned_secret(masker: Masker) -> None:
    class Client:
        def __repr__(self) -> str:
            return "Client(api_key='hunter2-of-nobody', url='http://x/?token=hunter3&page=2')"

    encoded = masker.encode({"payload": Payload(Client())}).decode()
    assert "hunter" not in encoded
    assert "page=2" in encoded
    assert "hunter" not in masker.text('{"password": "hunter2-x"} Authorization: Bearer hunter4')
    assert masker.text("token") == "token"


def test_events_without_secrets_stay_as_they_are(masker: Masker) -> None:
    for value in ({"text": "a…", "n": 1e300, "big": 10**40}, ["⟦x⟧", "â"], {"location": "x", "a token": 1}):
        encoded = to_json(value)
        assert masker.mask(encoded) is encoded or from_json(masker.mask(encoded)) == value


def test_the_project_key_is_kept_beside_the_store(tmp_path: Path) -> None:
    file = tmp_path / "home" / "masking.key"
    first, second = (Masker(file, environment={}) for _ in range(2))
    assert masked(first, "nothing to hide") == "nothing to hide"
    assert not file.exists()
    assert masked(first, {"password": "p"}) == masked(second, {"password": "p"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 32
    assert [path.name for path in file.parent.iterdir()] == ["masking.key"]
    assert masked(Masker(environment={}), {"password": "p"}) != masked(first, {"password": "p"})


def test_without_a_place_for_the_key_secrets_are_hidden_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    masker = Masker(tmp_path / "file" / "masking.key", environment={})
    assert is_hidden(masked(masker, {"password": "p"})["password"])


@pytest.mark.parametrize("key", ["observation", "is_error", "token_error", "monkey"])
@pytest.mark.parametrize("place", ["before", "within", "behind"])
def test_a_key_that_ends_alike_hides_no_secret_beside_it(masker: Masker, key: str, place: str) -> None:
    secret: Any = {"authorization": "Bearer planted-1", "error": "password=planted-2", 'quoted"token': "planted-3"}
    value = {
        "before": {**secret, key: "x"},
        "within": {key: [secret, {"error": None, "token": None, "secret": True}]},
        "behind": {"error": None, key: None, "token": None, "deep": [{key: 1}, secret]},
    }[place]
    text = masker.mask(to_json(value)).decode()
    assert "planted" not in text
    assert key in text


def test_a_key_that_looks_like_a_mask_is_told_from_one(masker: Masker) -> None:
    for value in ({"$secret": None}, {"$secret": True, "error": None}, {"$$secret": [None]}):
        assert unmask(from_json(masker.mask(to_json(value))))[0] == value
