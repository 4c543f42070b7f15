"""`ctx.kv`: values that the tools of a session keep and share, also after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from penguiflow.artifacts import ArtifactScope, ArtifactStore, NoOpArtifactStore
from penguiflow.recording.masking import KEYS, Masker, MaskingRules
from penguiflow.recording.masking_key import key_beside
from penguiflow.sessions.kv_keys import KVAddress, KVOwner, KVScope, SessionKVUnavailable
from penguiflow.sessions.kv_store import KVChange, KVStore, SessionKVConflict
from penguiflow.sessions.kv_values import (
    MAX_INLINE_BYTES,
    KVEntry,
    as_json,
    fresh_revision,
    nested,
    plain_json,
    unnested,
)

__all__ = ["KVScope", "SessionKVConfig", "SessionKVConflict", "SessionKVFacade", "SessionKVUnavailable"]

_DEFAULT_REDACT_KEYS = frozenset(KEYS)


@dataclass(frozen=True, slots=True)
class SessionKVConfig:
    """What is told of values."""

    max_inline_bytes: int = MAX_INLINE_BYTES
    """A larger value has a copy among the artifacts, and events tell of that one in its place."""
    redact_keys: frozenset[str] = _DEFAULT_REDACT_KEYS
    """Endings of keys, lower case, under which secrets stand: they are kept whole, and masked in events."""


class SessionKVFacade:
    """The values of the session, and of the task, that `tool_context` names.

    Values are JSON: models and dataclasses become it, a `SecretStr` its text. Changes of one key are made one after the
    other, by however many tools and processes. Every method raises `SessionKVUnavailable` where there is no store or it
    is not known whose values they are, and what the store raises.

    Args:
        state_store: Keeps the values: whatever has `save_memory_state` and `load_memory_state`.
        artifacts: Where copies of large values go.
        tool_context: Says whose they are: `tenant_id`, `user_id`, `session_id`, for the scope `task` also `task_id`.
        emit_planner_event: Told of each change: `kv_init`, `kv_set`, `kv_patch` or `kv_delete`, and what there is to
            know of it, without secrets.
        emit_checkpoint_update: Told the same as one mapping, unless the change says `emit_update=False`.
        config: How large is large, and what is a secret.
    """

    def __init__(
        self,
        *,
        state_store: object | None,
        artifacts: ArtifactStore,
        tool_context: MutableMapping[str, Any],
        emit_planner_event: Callable[[str, Mapping[str, Any]], None] | None = None,
        emit_checkpoint_update: Callable[[Mapping[str, Any]], None] | None = None,
        config: SessionKVConfig | None = None,
    ) -> None:
        self.config = config or SessionKVConfig()
        self.on_change: Callable[[str, KVChange], None] | None = None
        """Told of each change as it is, secrets among it."""
        self._state_store = state_store
        self._artifacts = artifacts
        self._tool_context = tool_context
        self._emit_planner_event = emit_planner_event
        self._emit_checkpoint_update = emit_checkpoint_update

    async def get(self, key: str, *, scope: KVScope = "session", namespace: str | None = None) -> Any | None:
        """The value; None when there is none."""
        entry = await self._store.load(self.address(key, scope, namespace))
        return None if entry is None else entry.value

    async def get_or_init(
        self,
        key: str,
        default: Any,
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """The value; `default`, which is kept from then on, when there is none."""
        text = as_json(default)

        def initial(before: KVEntry | None) -> str:
            return text if before is None else before.text

        change = await self._change("kv_init", self.address(key, scope, namespace), initial, emit_update)
        return None if change.after is None else change.after.value

    async def set(
        self,
        key: str,
        value: Any,
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """Keep a value; gives it as it will come back. Raises `TypeError` or `ValueError` for what is no JSON."""
        text = as_json(value)
        await self._change("kv_set", self.address(key, scope, namespace), lambda _: text, emit_update)
        return json.loads(text)

    async def patch(
        self,
        key: str,
        patch: Mapping[str, Any],
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """Put these keys into an object, which is made when there is none; gives all of it.

        Raises `TypeError` when the value is no object.
        """
        if not isinstance(patch, Mapping):
            raise TypeError(f"a patch is a mapping; got {type(patch).__name__}")
        changes = plain_json(patch)

        def patched(before: KVEntry | None) -> str:
            value = {} if before is None else before.value
            if not isinstance(value, dict):
                raise TypeError(f"only objects can be patched; {key!r} is {type(value).__name__}")
            return as_json({**value, **changes})

        change = await self._change("kv_patch", self.address(key, scope, namespace), patched, emit_update)
        return None if change.after is None else change.after.value

    async def delete(
        self, key: str, *, scope: KVScope = "session", namespace: str | None = None, emit_update: bool = True
    ) -> bool:
        """Forget a value; whether there was one."""
        change = await self._change("kv_delete", self.address(key, scope, namespace), lambda _: None, emit_update)
        return change.before is not None

    def address(self, key: str, scope: KVScope, namespace: str | None) -> KVAddress:
        """Where a value is. Raises `SessionKVUnavailable`, `ValueError` or `TypeError`."""
        owner = KVOwner.of(self._tool_context)
        return KVAddress.checked(owner, key, scope, namespace, self._tool_context.get("task_id"))

    # -- within -------------------------------------------------------------------------------------------------------

    @property
    def _store(self) -> KVStore:
        return KVStore(self._state_store)

    async def _change(
        self, event: str, address: KVAddress, make: Callable[[KVEntry | None], str | None], emit_update: bool
    ) -> KVChange:
        """Make a change, and tell of it; one that changes nothing is none."""
        store = self._store
        uploaded: list[str] = []

        async def changed(before: KVEntry | None) -> KVEntry | None:
            text = make(before)
            if text is None or (before is not None and event == "kv_init"):
                return None if text is None else before
            entry = store.entry(address, text)
            ref = await self._copied(address, entry)
            if ref is not None:
                uploaded.append(ref["id"])
            return entry._replace(artifact=ref)

        change = await store.change(address, changed)
        if change.after is not change.before:
            await self._tidy(change, uploaded)
            self._tell(event, change, emit_update)
        return change

    async def _copied(self, address: KVAddress, entry: KVEntry) -> dict[str, Any] | None:
        """The ref of the copy of a large value; None for a small one, and where nothing is kept."""
        if entry.bytes <= self.config.max_inline_bytes or isinstance(self._artifacts, NoOpArtifactStore):
            return None
        owner = address.owner
        scope = ArtifactScope(
            tenant_id=owner.tenant_id,
            user_id=owner.user_id,
            session_id=owner.session_id,
            trace_id=_text_of(self._tool_context.get("trace_id")),
        )
        # A namespace of its own: nobody shares it, so that it may go when the value does.
        namespace = f"kv_{_digest(address.composite())}_{fresh_revision():x}"
        about = {"kv": address.composite()}
        try:
            ref = await self._artifacts.put_text(
                entry.text, mime_type="application/json", namespace=namespace, scope=scope, meta=about
            )
        except ValueError:  # beyond the limits of artifacts; the value itself is kept all the same
            return None
        return ref.model_dump(mode="json", exclude_none=True)

    async def _tidy(self, change: KVChange, uploaded: list[str]) -> None:
        """Remove the copy of the value before, and of attempts that somebody else was faster than."""
        kept = None if change.after is None or change.after.artifact is None else change.after.artifact["id"]
        before = [] if change.before is None or change.before.artifact is None else [change.before.artifact["id"]]
        for artifact_id in (*before, *uploaded):
            if artifact_id != kept:
                await self._artifacts.delete(artifact_id)

    def _tell(self, event: str, change: KVChange, emit_update: bool) -> None:
        if self.on_change is not None:
            self.on_change(event, change)
        wanted = emit_update and self._emit_checkpoint_update is not None
        if self._emit_planner_event is None and not wanted:
            return
        told = self._told(change)
        if self._emit_planner_event is not None:
            self._emit_planner_event(event, told)
        if wanted and self._emit_checkpoint_update is not None:
            self._emit_checkpoint_update({"kind": "kv", "event": event, **told})

    def _told(self, change: KVChange) -> dict[str, Any]:
        address, context = change.address, self._tool_context
        masker = _masker(key_beside(self._state_store), self.config.redact_keys)
        masker.look_again()

        def shown(entry: KVEntry | None) -> Any:
            value = None if entry is None else entry.shown(self.config.max_inline_bytes)
            named = masker.value(nested(address.namespace, address.key, value))
            return unnested(named, address.namespace, address.key)

        etags = {"prev": None if change.before is None else change.before.etag}
        etags["next"] = None if change.after is None else change.after.etag
        return {
            "scope": address.scope,
            "namespace": address.namespace or None,
            "key": address.key,
            "composite_key": address.composite(),
            "prev": shown(change.before),
            "next": shown(change.after),
            "etags": etags,
            "actor": {
                "type": "tool",
                "name": context.get("_current_tool_name"),
                "call_id": context.get("_current_tool_call_id"),
            },
            "context": {
                **address.owner._asdict(),
                **{name: _text_of(context.get(name)) for name in ("task_id", "trace_id")},
            },
        }


@lru_cache(maxsize=64)
def _masker(key_file: Path | None, redact_keys: frozenset[str]) -> Masker:
    return Masker(key_file, MaskingRules(keys=tuple(sorted(redact_keys))))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _text_of(value: Any) -> str | None:
    return None if value is None else str(value)
