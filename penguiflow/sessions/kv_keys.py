"""Where a value of a session is: whose session, which scope, which namespace, which key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from uuid import UUID

from penguiflow.state.documents import is_kv_key, join_key, split_key

__all__ = ["KVAddress", "KVOwner", "KVScope", "SessionKVUnavailable"]

KVScope = Literal["session", "task"]
"""`session`: until it is deleted. `task`: for this task of the session alone, and for an hour after its last change."""
MAX_KEY_CHARS = 512


class SessionKVUnavailable(RuntimeError):
    """There is nowhere to keep values, or it is not known whose they are."""


class KVOwner(NamedTuple):
    """Whose values they are."""

    tenant_id: str
    user_id: str
    session_id: str

    @property
    def session(self) -> str:
        """`tenant:user:session`, as the key of a conversation's memory."""
        return join_key(*self)

    @classmethod
    def parse(cls, session: str) -> KVOwner:
        """Read what `session` wrote. Raises `ValueError`."""
        parts = split_key(session)
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"a session is 'tenant:user:session', none of it empty; got {session!r}")
        return cls(*parts)

    @classmethod
    def of(cls, tool_context: Mapping[str, Any]) -> KVOwner:
        """Whose run it is, as `tool_context` says. Raises `SessionKVUnavailable`, which names what is missing."""
        found = {name: _text(tool_context.get(name)) for name in cls._fields}
        missing = [name for name, value in found.items() if not value]
        if missing:
            raise SessionKVUnavailable(f"ctx.kv needs to know whose session it is: tool_context has no {_and(missing)}")
        return cls(**{name: value or "" for name, value in found.items()})


class KVAddress(NamedTuple):
    """The place of one value."""

    owner: KVOwner
    scope: KVScope
    task_id: str
    """Empty in the scope `session`."""
    namespace: str
    """Empty for the session's own."""
    key: str

    @property
    def session(self) -> str:
        """`tenant:user:session`."""
        return self.owner.session

    @property
    def name(self) -> str:
        """`namespace/key`, or the key alone."""
        return f"{self.namespace}/{self.key}" if self.namespace else self.key

    def composite(self) -> str:
        """The key that it is kept under: `kv:session:TENANT:USER:SESSION:NAMESPACE:KEY`; of a task with its id."""
        task = (self.task_id,) if self.scope == "task" else ()
        return join_key("kv", self.scope, *self.owner, *task, self.namespace, self.key)

    @classmethod
    def parse(cls, composite: str) -> KVAddress:
        """Read what `composite` wrote. Raises `ValueError`."""
        if not is_kv_key(composite):
            raise ValueError(f"{composite!r} is not the key of a session's value")
        parts = split_key(composite)
        scope: KVScope = "task" if parts[1] == "task" else "session"
        return cls(KVOwner(*parts[2:5]), scope, parts[5] if scope == "task" else "", *parts[-2:])

    @classmethod
    def checked(
        cls, owner: KVOwner, key: Any, scope: Any = "session", namespace: Any = None, task_id: Any = None
    ) -> KVAddress:
        """A place, if it is one. Raises `ValueError`, `TypeError`, and `SessionKVUnavailable` without a task."""
        if scope not in ("session", "task"):
            raise ValueError(f"scope is 'session' or 'task'; got {scope!r}")
        for name, value in (("key", key), ("namespace", "" if namespace is None else namespace)):
            if not isinstance(value, str):
                raise TypeError(f"a {name} is text; got {type(value).__name__}")
            if len(value) > MAX_KEY_CHARS or not _is_unicode(value):
                raise ValueError(f"a {name} is Unicode, and at most {MAX_KEY_CHARS} characters; got {value[:40]!r}")
        if not key:
            raise ValueError("a key has at least one character")
        task = _text(task_id) if scope == "task" else ""
        if task is None or (scope == "task" and not task):
            raise SessionKVUnavailable("ctx.kv needs to know which task it is: tool_context has no task_id")
        return cls(owner, scope, task, namespace or "", key)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        return None
    text = str(value)
    return text if text and _is_unicode(text) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _and(names: list[str]) -> str:
    return " and no ".join(names)
