"""One exchange of a conversation, as it is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic_core import to_jsonable_python

__all__ = ["ConversationTurn", "TrajectoryDigest", "dump_turn", "load_turn", "shown_turn"]


@dataclass(slots=True)
class TrajectoryDigest:
    """How an answer came about, in short."""

    tools_invoked: list[str]
    observations_summary: str
    reasoning_summary: str | None = None
    artifacts_refs: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ConversationTurn:
    """What a user said, and what they were answered."""

    user_message: str
    assistant_response: str
    trajectory_digest: TrajectoryDigest | None = None
    artifacts_shown: dict[str, Any] = field(default_factory=dict)
    artifacts_hidden_refs: list[str] = field(default_factory=list)
    ts: float = 0.0
    """Unix seconds; 0: when it is added."""
    turn_id: str = ""
    """Tells it apart in its memory; empty: given when it is added. The same turn is not added twice."""


_TURN = frozenset(each.name for each in fields(ConversationTurn))
_DIGEST = frozenset(each.name for each in fields(TrajectoryDigest))


def dump_turn(turn: ConversationTurn) -> dict[str, Any]:
    """As JSON has it."""
    digest = turn.trajectory_digest
    return {
        "user_message": turn.user_message,
        "assistant_response": turn.assistant_response,
        "trajectory_digest": None if digest is None else _dump_digest(digest),
        "artifacts_shown": to_jsonable_python(turn.artifacts_shown, fallback=str) if turn.artifacts_shown else {},
        "artifacts_hidden_refs": list(turn.artifacts_hidden_refs),
        "ts": turn.ts,
        "turn_id": turn.turn_id,
    }


def _dump_digest(digest: TrajectoryDigest) -> dict[str, Any]:
    return {
        "tools_invoked": list(digest.tools_invoked),
        "observations_summary": digest.observations_summary,
        "reasoning_summary": digest.reasoning_summary,
        "artifacts_refs": list(digest.artifacts_refs),
    }


def load_turn(data: Mapping[str, Any]) -> ConversationTurn:
    """Read it back. Raises `ValueError` for what is no turn."""
    if not isinstance(data, Mapping) or not {"user_message", "assistant_response"} <= data.keys():
        raise ValueError(f"a turn has user_message and assistant_response; got {data!r:.200}")
    about = {name: value for name, value in data.items() if name in _TURN}
    digest = about.pop("trajectory_digest", None)
    if digest is not None:
        known = {"tools_invoked": [], "observations_summary": "", **digest}
        digest = TrajectoryDigest(**{name: value for name, value in known.items() if name in _DIGEST})
    return ConversationTurn(trajectory_digest=digest, **about)


def shown_turn(turn: ConversationTurn) -> dict[str, Any]:
    """As a model is shown it."""
    shown: dict[str, Any] = {"user": turn.user_message, "assistant": turn.assistant_response}
    if turn.trajectory_digest is not None:
        digest = _dump_digest(turn.trajectory_digest)
        shown["trajectory_digest"] = {name: value for name, value in digest.items() if value}
    for name in ("artifacts_shown", "artifacts_hidden_refs"):
        if getattr(turn, name):
            shown[name] = to_jsonable_python(getattr(turn, name), fallback=str)
    return shown
