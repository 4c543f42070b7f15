"""Values of a session as they are kept: JSON, whole, with what tells whether it is still the same."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from secrets import randbits
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

__all__ = ["GONE", "MAX_INLINE_BYTES", "KVEntry", "as_json", "nested", "plain_json", "unnested"]

MAX_INLINE_BYTES = 8192
MAX_VALUE_BYTES = 8 * 1024 * 1024
GONE = "gone"
"""Marks what was deleted, in a store that removes nothing."""
_REVISION_BITS = 52
"""Readers of JSON may know no longer integers."""


class KVEntry(NamedTuple):
    """One value as it is kept."""

    text: str
    """Its JSON."""
    revision: int
    """One that no other change has had."""
    updated: float
    """Unix seconds."""
    expires: float | None = None
    """Unix seconds; None: never."""
    artifact: dict[str, Any] | None = None
    """The ref of its copy among the artifacts, as JSON; of large values."""

    @property
    def etag(self) -> str:
        """Tells whether it is still what was seen. No hash: nobody can try out which secret it is of."""
        return f"{self.revision:x}"

    @property
    def value(self) -> Any:
        """The value, made anew each time."""
        return json.loads(self.text)

    @property
    def bytes(self) -> int:
        """Of its JSON."""
        return len(self.text.encode())

    def shown(self, max_inline_bytes: int = MAX_INLINE_BYTES) -> Any:
        """The value as events tell it: of a large one where its copy is, and how large it is."""
        if self.bytes <= max_inline_bytes:
            return self.value
        return {"artifact": None if self.artifact is None else self.artifact.get("id"), "bytes": self.bytes}

    @classmethod
    def of(cls, text: str, now: float, ttl_s: float | None, artifact: dict[str, Any] | None = None) -> KVEntry:
        """A value that is kept from now on."""
        return cls(text, fresh_revision(), now, None if ttl_s is None else now + ttl_s, artifact)

    def dump(self) -> dict[str, Any]:
        """The document."""
        about = {"revision": self.revision, "json": self.text, "updated": self.updated}
        more = {"expires": self.expires, "artifact": self.artifact}
        return {**about, **{name: value for name, value in more.items() if value is not None}}

    @classmethod
    def load(cls, document: Mapping[str, Any] | None, now: float) -> KVEntry | None:
        """Read it back; None for what was deleted, or has expired. Raises `ValueError` for what is no value."""
        if document is None or document.get(GONE):
            return None
        text, revision, expires = document.get("json"), document.get("revision"), document.get("expires")
        if not isinstance(text, str) or not isinstance(revision, int):
            raise ValueError("what is kept there is no value of a session")
        entry = cls(text, revision, float(document.get("updated", 0.0)), expires, document.get("artifact"))
        return None if expires is not None and expires <= now else entry


def fresh_revision() -> int:
    """One that nobody has had: what was deleted and made again is not taken for what it was. Never 0."""
    return randbits(_REVISION_BITS) + 1


def as_json(value: Any) -> str:
    """A value as JSON, secrets among it. Raises `TypeError` and `ValueError` for what would not come back as it is."""
    try:
        text = json.dumps(_tree(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except RecursionError:
        raise ValueError("a value is JSON, and this one is nested too deeply, or contains itself") from None
    except UnicodeEncodeError:
        raise ValueError("a value is JSON, and this one has text that is no Unicode") from None
    if size > MAX_VALUE_BYTES:
        raise ValueError(f"a value has at most {MAX_VALUE_BYTES:,} bytes; this one has {size:,}")
    return text


def plain_json(value: Any) -> Any:
    """A value as it comes back. Raises as `as_json`."""
    return json.loads(as_json(value))


def _tree(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _tree(value.value)
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a value is JSON, which has no {value}")
        return value
    if isinstance(value, SecretStr | SecretBytes):
        secret = value.get_secret_value()  # it is to come back as it is; who looks on sees it masked
        return secret if isinstance(secret, str) else secret.decode()
    if isinstance(value, BaseModel):
        return _tree(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _tree(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise TypeError(f"keys of JSON are texts; got {wrong!r}")
        return {str(key): _tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tree(item) for item in value]
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError):
        raise TypeError(f"a value is JSON, a model or a dataclass; got {type(value).__name__}") from None


def nested(namespace: str, key: str, value: Any) -> dict[str, Any]:
    """A value under the names that it has: so that whoever masks secrets sees under which it stands."""
    return {namespace: {key: value}} if namespace else {key: value}


def unnested(shown: Any, namespace: str, key: str) -> Any:
    """What `nested` was given; None where there is nothing."""
    for name in (namespace, key) if namespace else (key,):
        shown = shown.get(name) if isinstance(shown, Mapping) else None
    return shown
