"""Secrets do not reach the log: they are replaced where an event is encoded, before anybody gets it.

What is a secret: a pydantic `SecretStr` or `SecretBytes`, what stands under a key like `api_key` or `authorization`,
and the value of an environment variable with such a name, wherever it turns up in a text.

What stands in its place can be compared, and where it came from the environment also filled in again:
`{"$secret": "env:NAME"}` or `{"$secret": "hmac:…"}` for a whole value, `⟦$secret env:NAME⟧` inside a longer text. What
merely looks like that is written with one more `$`, so that nobody can ask for a secret by writing its name. How it is
filled in again: unmasking.py.
"""

from __future__ import annotations

import hmac
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any

from pydantic_core import from_json, to_json

from penguiflow.recording.masking_key import KEY_FILE, project_key
from penguiflow.recording.payloads import (
    NO_PARTS,
    Known,
    encode_data,
    encode_parts,
    encode_payload,
    encode_simple,
    encode_simple_payload,
    is_settled,
    parts_of,
)
from penguiflow.recording.plain import FROZEN, Frozen
from penguiflow.recording.shapes import keys_of

__all__ = ["KEY_FILE", "Masker", "MaskingRules", "frozen_part", "stand_in"]

KEYS = (
    "api_key", "api-key", "apikey", "access_key", "accesskey", "secret_key", "secretkey", "private_key", "privatekey",
    "authorization", "token", "password", "passwd", "passphrase", "secret", "cookie", "cookies", "credential",
    "credentials",
)  # fmt: skip
"""Keys that end like this, in capitals or not, hold a secret: `X-Api-Key`, `accessToken`; not `tokens_used`."""
HARMLESS = ("resume_token",)
"""Keys that hold none, although their names say so.

The token of a pause is good once, soon expires, and is worth nothing without the store; who looks at a paused run has
to know it to go on.
"""
MIN_CHARS = 8
"""Values of variables that are shorter are no secrets: they would be found everywhere."""
_TRIVIAL = frozenset(
    {"changeme", "disabled", "localhost", "optional", "password", "production", "required", "undefined"}
)
_LOOK_AGAIN_S = 1.0
_HMAC_HEX = 32

HIDDEN = f"⟦secret-{token_hex(8)}"
"""Marks what is hidden already, until the event is encoded: nobody else can know it."""
_STANDS_IN = re.compile(re.escape(HIDDEN) + r" (env:[^⟧]*|hmac:[0-9a-f]+)⟧")
_OF_ENVIRONMENT = re.compile(re.escape(HIDDEN) + r" env:[^⟧]*⟧")
_OPEN_PLACE, _SHOWN_PLACE, _TOKEN_PLACE, _SECRET_PLACE = range(4)
"""What may stand at a place: anything, the text of an error, a secret text, a secret text or number. (A `token` may be
one of many.)"""
OPEN = "⟦$"
"""What a mark inside a text begins with."""
LOOKS_LIKE_KEY = re.compile(r"\$+secret")
_SCHEME = re.compile(r"\s*(?:bearer|basic|token|key|apikey)?\s*", re.IGNORECASE)
_CUT = "…"
_MARKED = b"\xe2"
_TAIL = 5
_NO_TEXT = frozenset({b"null", b"true", b"fals"})
"""How values begin in which no secret can be, four characters of them."""
_UNLESS_EMPTY, _SURELY = 1, 2
_MAX_KINDS = 4096
_MANY = 64
_MIN_PART = 4
"""Characters of the beginning of a secret, at the end of a text that was cut, that give it away."""


@dataclass(frozen=True, slots=True)
class MaskingRules:
    """What is a secret, beside `SecretStr`."""

    keys: Sequence[str] = KEYS
    """Endings of keys, lower case, under which secrets stand."""
    environment: Sequence[str] = ()
    """Variables that hold one, beside those whose names end like such a key."""
    harmless: Sequence[str] = ()
    """Keys and variables that hold none, although their names say so."""


class Masker:
    """Encodes the data of events without the secrets in them.

    Args:
        key_file: Where the project's key is kept, which makes secrets comparable; made when first needed, readable for
            its owner alone. Without one the key lasts as long as the process.
        rules: What is a secret.
        environment: Where variables are looked up.
    """

    def __init__(
        self,
        key_file: Path | None = None,
        rules: MaskingRules | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._rules = rules or MaskingRules()
        self._environment = os.environ if environment is None else environment
        self._key_file = key_file
        self._key: bytes | None = None
        self._harmless = {_normal(key) for key in (*HARMLESS, *self._rules.harmless)}
        self._endings = tuple(_normal(key) for key in self._rules.keys)
        # How the last characters of a key look, in JSON, that is worth a closer look.
        endings = [b"%b" % ending.encode() for key in self._rules.keys for ending in _spellings(f'"{key}'[-_TAIL:])]
        self._tails = frozenset([*endings, b'"repr', b"error", b"$secret"[-_TAIL:]])
        self._assigned = re.compile(
            rf"(?P<head>(?:{'|'.join(map(re.escape, self._rules.keys))})[\"']?\s*[=:]\s*(?:b?[\"'])?"
            r"(?:(?:bearer|basic)\s+)?)(?P<value>[^\s\"',;&)}\]]+)",
            re.IGNORECASE,
        )
        self._kinds: dict[type, bool] = {}
        self._swift: dict[type, bool] = {}
        self._open_keys: set[str] = set()
        """Keys under which anything may stand."""
        self._suspects: dict[bytes, int] = {}
        """Keys whose ends look like those of secrets, and how far they are such."""
        self._seen: tuple[tuple[str, str], ...] = ()
        self._looked = 0.0
        self.values: dict[str, str] = {}
        """Secrets of the environment, the longest first, with what they are called; some as they are written."""
        self._written: dict[str, str] = {}
        self.secrets: tuple[bytes, ...] = ()
        """Those of the environment as they look in JSON."""
        self._pattern: re.Pattern[str] | None = None
        self.look_again()

    def look_again(self) -> None:
        """Notice variables that were set since; to be called now and then."""
        now = time.monotonic()
        if now < self._looked + _LOOK_AGAIN_S and self._looked:
            return
        self._looked = now
        seen = tuple(sorted((name, value) for name, value in self._environment.items() if self._is_named(name)))
        if seen == self._seen:
            return
        self._seen = seen
        values: dict[str, str] = {}
        for name, value in seen:
            for text in {value, value.strip()}:
                if len(text) >= MIN_CHARS and text.lower() not in _TRIVIAL and len(set(text)) > 1:
                    values.setdefault(text, f"env:{name}")
        for text in list(values):
            # As it stands in a repr, a traceback or a URL: found, and not filled in again.
            for other in (repr(text)[1:-1], _quoted(text)):
                if other not in values:
                    values[other] = ""
                    self._written[other] = text
        # What was a secret a moment ago still is one: it may be on its way.
        values = {**self.values, **values}
        self.values = dict(sorted(values.items(), key=lambda item: -len(item[0])))
        self.secrets = tuple(to_json(text)[1:-1] for text in self.values if _is_text(text))
        self._pattern = re.compile("|".join(map(re.escape, self.values))) if self.values else None

    def encode(self, data: Mapping[str, Any] | None) -> bytes:
        """An event's data as a JSON object, as `encode_data`, without secrets."""
        keys: set[str] = set()
        encoded = encode_simple(data, keys)
        if encoded is None or not (self._open_keys.issuperset(keys) or self._are_open(keys)):
            return self.mask(encode_data(data, self._hide))
        return self._mask_values(encoded)

    def payload(self, value: Any) -> bytes:
        """`{"type", "value"}` of a value, as `encode_payload`, without secrets."""
        keys: set[str] = set()
        simple = encode_simple_payload(value, keys)
        if simple is not None and (self._open_keys.issuperset(keys) or self._are_open(keys)):
            return self._mask_values(simple)
        encoded = encode_payload(value, self._hide)
        kind = type(value)
        harmless = self._kinds.get(kind)
        if harmless is None:
            harmless = self._look_at(kind)
        return self._mask_values(encoded) if harmless else self.mask(encoded)

    def payload_of(self, value: Any) -> Known:
        """As `payload`, with what tells whether it would be the same again."""
        kind = type(value)
        swift = self._swift.get(kind)
        if swift is None:
            swift = self._is_swift(kind)
        if swift and (parts := parts_of(value)) is not None:
            encoded = encode_parts(value)
            secrets = self.secrets
            # Whatever marks a secret is no ASCII.
            if encoded is not None and encoded.isascii():
                for secret in secrets:
                    if secret in encoded:
                        break
                else:
                    return Known(value, parts, encoded, secrets)
        return Known(None, NO_PARTS, self.payload(value), ())

    def frozen(self, value: Any) -> dict[str, Any]:
        """`{"type", "value"}` of a value as it will be stored, decoded; can be put into an event."""
        encoded = encode_payload(value, self._hide)
        masked = self.mask(encoded)
        stored: dict[str, Any] = from_json(masked)
        return stored if masked is encoded else Frozen(stored)

    def mask(self, encoded: bytes) -> bytes:
        """A JSON object without the secrets in it."""
        for value in self.secrets:
            if value in encoded:
                return self._masked(encoded)
        # Whatever marks a secret, or a text that was cut, has this byte. Every event comes by here: a search for one
        # byte and a look at the ends of its keys is what that may cost.
        if _MARKED in encoded:
            return self._masked(encoded)
        parts = encoded.split(b'":')
        if self._tails.isdisjoint([part[-_TAIL:] for part in parts]) or not self._is_suspect(parts):
            return encoded
        return self._masked(encoded)

    def _mask_values(self, encoded: bytes) -> bytes:
        """As `mask`, where no key says that a secret stands under it."""
        for secret in self.secrets:
            if secret in encoded:
                return self._masked(encoded)
        return self._masked(encoded) if _MARKED in encoded else encoded

    def _are_open(self, keys: set[str]) -> bool:
        """Whether anything may stand under all of these keys."""
        fresh = keys - self._open_keys
        # A look at the text is cheaper than one at each of many.
        if len(fresh) > _MANY or not all(self._suspicion(key) == 0 for key in fresh):
            return False
        if len(self._open_keys) >= _MAX_KINDS:
            self._open_keys.clear()
        self._open_keys |= fresh
        return True

    def _is_suspect(self, parts: list[bytes]) -> bool:
        """Whether one of the keys at the ends of these parts is worth a walk: `observation` only looks like one."""
        suspects = self._suspects
        for index, part in enumerate(parts[:-1]):
            if part[-_TAIL:] not in self._tails:
                continue
            # Behind the last quote, which an escaped one may be: the end of the key is there in any case.
            key = part[part.rfind(b'"') + 1 :]
            suspect = suspects.get(key)
            if suspect is None:
                if len(suspects) >= _MAX_KINDS:
                    suspects.clear()
                suspect = suspects[key] = self._suspicion(key.decode("utf-8", "replace"))
            if suspect == _SURELY or (suspect and parts[index + 1][:4] not in _NO_TEXT):
                return True
        return False

    def _suspicion(self, key: str) -> int:
        if key == "repr" or LOOKS_LIKE_KEY.fullmatch(key):
            return _SURELY
        return _UNLESS_EMPTY if self._place_of(key) != _OPEN_PLACE else 0

    def value(self, value: Any) -> Any:
        """A JSON value without the secrets in it."""
        return self._walk(value, _OPEN_PLACE)

    def text(self, text: str) -> str:
        """A text that is only shown, like a line of a log, without secrets, `password=…` among them.

        What is hidden already stays as it is.
        """
        return self.early(text).replace(HIDDEN, "⟦$secret")

    def early(self, text: str) -> str:
        """A text that is only shown, and will be cut before it becomes part of an event."""
        return self._assigned.sub(self._hide_assigned, self.replaced(text))

    def prefix_at_end(self, text: str) -> int:
        """How many characters at the end of a text may be the beginning of a secret."""
        longest = 0
        for secret in self.values:
            for length in range(min(len(secret) - 1, len(text)), longest, -1):
                if text.endswith(secret[:length]):
                    longest = length
                    break
        return longest

    def beginning(self, text: str) -> str | None:
        """The name of a secret that begins like this, and that can be filled in by its name; None without one."""
        for secret, name in self.values.items():
            if secret.startswith(text) and name and self._environment.get(name.removeprefix("env:")) == secret:
                return name
        return None

    def begins(self, name: str, length: int) -> str | None:
        """The first characters of the secret of that name; None when it is not known."""
        secret = self._environment.get(name.removeprefix("env:"))
        return None if secret is None or self.values.get(secret) != name else secret[:length]

    def first_start(self, text: str) -> int:
        """Where the first secret of the environment begins; the length of a text without one."""
        found = None if self._pattern is None else self._pattern.search(text)
        return len(text) if found is None else found.start()

    def last_end(self, text: str) -> int:
        """Where the last secret of the environment ends; 0 without one."""
        end = 0
        for found in () if self._pattern is None else self._pattern.finditer(text):
            end = found.end()
        return end

    # -- within --------------------------------------------------------------------------------------------------------

    def _is_swift(self, kind: type) -> bool:
        """Whether the payload of an object of this class needs no masking, unless a text in it does."""
        if len(self._swift) >= _MAX_KINDS:
            self._swift.clear()
        swift = self._swift[kind] = is_settled(kind) and self._look_at(kind)
        return swift

    def _look_at(self, kind: type) -> bool:
        """Whether no key in the JSON of this class's objects can be one of those that hold a secret."""
        if len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        keys = keys_of(kind)
        harmless = keys is not None and not any(
            key == "repr" or LOOKS_LIKE_KEY.fullmatch(key) or self._place_of(key) != _OPEN_PLACE for key in keys
        )
        self._kinds[kind] = harmless
        return harmless

    def _is_named(self, name: str) -> bool:
        return name in self._rules.environment or self._place_of(name) >= _TOKEN_PLACE

    def _masked(self, encoded: bytes) -> bytes:
        data = from_json(encoded)
        masked = self._walk(data, _OPEN_PLACE)
        return encoded if masked == data else to_json(masked)

    def _walk(self, value: Any, place: int) -> Any:
        if isinstance(value, str):
            if value and (place >= _TOKEN_PLACE or value in self.values):
                return self._hidden(value)
            return self._in_text(self.early(value) if place == _SHOWN_PLACE else value)
        if isinstance(value, dict):
            if HIDDEN in value:
                return {"$secret": value[HIDDEN]}
            if FROZEN in value:
                return value[FROZEN]
            if value.get("repr") is True and isinstance(value.get("value"), str):
                return {**value, "value": self._in_text(self.early(value["value"]))}
            return {
                self._key_text(key): self._walk(item, max(place, self._place_of(key))) for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._walk(item, place) for item in value]
        if place == _SECRET_PLACE and isinstance(value, int | float) and not isinstance(value, bool):
            return self._hidden(to_json(value).decode())
        return value

    def _place_of(self, key: str) -> int:
        name = _normal(key)
        if name == "error":
            return _SHOWN_PLACE
        if not name.endswith(self._endings) or name in self._harmless:
            return _OPEN_PLACE
        return _TOKEN_PLACE if name.endswith("token") else _SECRET_PLACE

    def _key_text(self, key: str) -> str:
        return f"${key}" if LOOKS_LIKE_KEY.fullmatch(key) else self._in_text(key)

    def _hide(self, text: str) -> Any:
        """What stands for a `SecretStr` until the event is encoded."""
        return {HIDDEN: self._name(text)}

    def _hidden(self, text: str) -> Any:
        """What stands for a text that is secret as a whole; of `Bearer KEY` the key alone is."""
        if text not in self.values and _STANDS_IN.fullmatch(text) is None:
            rest = text if self._pattern is None else self._pattern.sub("", text)
            if HIDDEN in rest:
                rest = _OF_ENVIRONMENT.sub("", rest)
            if rest != text and _SCHEME.fullmatch(rest):
                return self._in_text(text)
        return {"$secret": self._name(text)}

    def _name(self, text: str) -> str:
        if HIDDEN in text:
            # What stands for a secret that is lost looks as the secret did; with something around it, alike each time.
            found = _STANDS_IN.fullmatch(text)
            if found is not None:
                return found[1]
            text = text.replace(HIDDEN, "⟦$secret")
        name = self.values.get(text)
        return name or f"hmac:{self._digest(self._written.get(text, text))}"

    def _in_text(self, text: str) -> str:
        if OPEN in text:
            text = text.replace(OPEN, "⟦$$")
        return self.replaced(text).replace(HIDDEN, "⟦$secret")

    def replaced(self, text: str) -> str:
        """A text with marks in place of the environment's secrets, which `encode` makes final."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(lambda match: f"{HIDDEN} {self._name(match[0])}⟧", text)
        if text.endswith(_CUT):
            length = self.prefix_at_end(text[: -len(_CUT)])
            if length >= _MIN_PART:
                return f"{text[: -length - len(_CUT)]}{_CUT}"
        return text

    def _hide_assigned(self, match: re.Match[str]) -> str:
        value = match["value"]
        if value.startswith("⟦") or len(value) < 2:
            return match[0]
        return f"{match['head']}{HIDDEN} hmac:{self._digest(value)}⟧"

    def _digest(self, text: str) -> str:
        if self._key is None:
            self._key = token_bytes(32) if self._key_file is None else project_key(self._key_file)
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:_HMAC_HEX]


def stand_in(mark: str) -> str:
    """A text in the place of a secret that is not known. Where it is recorded its mark is: `hmac:…`, `env:…`."""
    return f"{HIDDEN} {mark}⟧"


def frozen_part(value: Any) -> dict[str, Any]:
    """A part of what is stored, for another event: nothing in it is hidden, or marked, once more."""
    return {FROZEN: value}


def _normal(key: str) -> str:
    return key.lower().replace("-", "_")


def _spellings(text: str) -> list[str]:
    """A text in small and capital letters, however they are mixed."""
    return ["".join(letters) for letters in product(*({letter.lower(), letter.upper()} for letter in text))]


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # an environment may hold any bytes
        return False
    return True
