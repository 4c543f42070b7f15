"""The memory of a conversation as one run sees it: read when the run begins, added to when it is finished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from penguiflow.observer import Payload
from penguiflow.planner.memory.background import caused_by
from penguiflow.planner.memory.bank import MemoryBank
from penguiflow.planner.memory.config import MemoryBudgetExceeded, MemoryKey, ShortTermMemoryConfig
from penguiflow.planner.memory.keeping import STORE_TIMEOUT_S
from penguiflow.planner.memory.protocols import ShortTermMemory, ShortTermMemoryPersistence
from penguiflow.planner.memory.short_term import DefaultShortTermMemory
from penguiflow.planner.memory.turns import ConversationTurn, TrajectoryDigest, dump_turn
from penguiflow.traces import TraceCancelled

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.llm.providers.base import Provider
    from penguiflow.planner.memory.editing import RunMemoryEditor
    from penguiflow.planner.run import PlannerRun
    from penguiflow.planner.trajectory import Trajectory

__all__ = ["EPHEMERAL", "RunMemory", "digest_of", "open_memory"]

logger = logging.getLogger("penguiflow.planner")

EPHEMERAL = "ephemeral"
"""The key of a memory that ends with its run."""
_OBSERVATION_CHARS = 400


async def open_memory(
    memory: MemoryBank | ShortTermMemory | ShortTermMemoryConfig | None,
    *,
    key: MemoryKey | str | None,
    tool_context: Mapping[str, Any],
    store: Any,
    site: CallSite,
    summarizer: Provider | None,
) -> RunMemory | None:
    """The memory of a run's conversation; None where there is none, it cannot be told whose it is, or it fails.

    Args:
        memory: The planner's memories. Anything else remembers only what `store` keeps.
        key: Whose it is; None: what `tool_context` says.
        tool_context: Of the run.
        store: Where a memory is kept that is no bank.
        site: Of the run. The memory is read from here, so that a replay, and a run that goes on, see what was read.
        summarizer: The model that summarizes, for a memory that is no bank.

    Raises:
        ValueError: `key` is a text, and no key.
    """
    if memory is None:
        return None
    bank = memory if isinstance(memory, MemoryBank) else MemoryBank(memory, store=store, summarizer=summarizer)
    if bank.config.strategy == "none":
        return None
    if isinstance(key, str) and key != EPHEMERAL:
        key = MemoryKey.parse(key)
    isolation = bank.config.isolation
    if key is None:
        key = isolation.key_of(tool_context)
    if isinstance(key, MemoryKey) and not all((key.tenant_id, key.user_id, key.session_id)):
        key = None
    if isinstance(key, MemoryKey):
        return await _opened(bank, key.composite(), site)
    if isolation.require_explicit_key:
        return None
    return RunMemory(EPHEMERAL, MemoryBank(bank.config), {})


async def _opened(bank: MemoryBank, key: str, site: CallSite) -> RunMemory | None:
    async def read() -> dict[str, Any]:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            found = await bank.refreshed(key)
        if found is None:
            return {"context": None}
        told = {"context": to_jsonable_python(await found.get_llm_context(), fallback=str)}
        return {**told, "version": found.state.revision} if isinstance(found, DefaultShortTermMemory) else told

    try:
        told = await site.call("record", "memory", [key], read)
    except TraceCancelled:
        raise
    except Exception:  # whatever a store raises: a run without its memory is better than none
        logger.exception("memory_not_read", extra={"event": "memory_not_read", "key": key})
        return None
    return None if told["context"] is None else RunMemory(key, bank, told["context"])


class RunMemory:
    """See `penguiflow.planner.protocols.MemorySession`."""

    __slots__ = ("_bank", "_context", "_key")

    def __init__(self, key: str, bank: MemoryBank, context: Mapping[str, Any]) -> None:
        self._key = key
        self._bank = bank
        self._context = context

    @property
    def key(self) -> str:
        """`tenant:user:session`."""
        return self._key

    @property
    def bank(self) -> MemoryBank:
        """Where it is from."""
        return self._bank

    def context(self) -> Mapping[str, Any]:
        """`{"conversation_memory": …}` as it was when the run began, with what was edited since; or nothing."""
        return self._context

    def take(self, context: Mapping[str, Any]) -> None:
        """See this from here on."""
        self._context = context

    def editor(self, run: PlannerRun) -> RunMemoryEditor:
        """Changes the memory while the run is under way."""
        from penguiflow.planner.memory.editing import RunMemoryEditor

        return RunMemoryEditor(run, self)

    async def add_turn(self, run: PlannerRun, answer: str) -> None:
        """The run is finished: remember it, and keep it in the store. Fails only in the log."""
        turn = _turn(run, answer, digest=self._bank.config.include_trajectory_digest)

        said = dump_turn(turn)
        del said["turn_id"]  # of this trace: in a replay it is another one

        async def add() -> dict[str, Any]:
            turn.turn_id = _turn_id(run)
            async with asyncio.timeout(STORE_TIMEOUT_S):
                return {"turn_id": turn.turn_id, **await self._add(run, turn)}

        try:
            told = await run.site.call("record", "memory.turn", [self._key, said], add)
        except TraceCancelled:
            raise
        except MemoryBudgetExceeded as error:
            # It was asked for: the turn does not fit, and nothing may be left out.
            event = {"event": "memory_turn_not_kept", "key": self._key}
            logger.warning("memory_turn_not_kept: %s: %s", self._key, error, extra=event)
            return
        except Exception:  # whatever a store or a summarizer raises: the answer is there all the same
            logger.exception("memory_turn_not_kept", extra={"event": "memory_turn_not_kept", "key": self._key})
            return
        if run.site.recorded:
            about = {"of": self._key, "change": "turn.added", "before": None, "by": "run"}
            run.site.event("memory.changed", self._key, {**about, "after": Payload({**said, **told})})

    async def _add(self, run: PlannerRun, turn: ConversationTurn) -> dict[str, Any]:
        memory, store = self._bank.of(self._key), self._bank.store
        if memory is None:
            return {}
        with caused_by(run, self._key):
            await memory.add_turn(turn)
        if isinstance(memory, DefaultShortTermMemory):
            return {"version": memory.state.revision}
        if store is not None and isinstance(memory, ShortTermMemoryPersistence):
            await memory.persist(store, self._key)
        return {}


def _turn(run: PlannerRun, answer: str, *, digest: bool) -> ConversationTurn:
    trajectory = run.trajectory
    return ConversationTurn(
        run.request.query or trajectory.query,
        answer,
        digest_of(trajectory) if digest else None,
        artifacts_hidden_refs=_artifacts(trajectory),
        ts=run.site.now(),
    )


def _turn_id(run: PlannerRun) -> str:
    """The same for the same run when it goes on after a crash: its turn is not added twice."""
    scope = run.site.scope
    if scope is None:
        return ""
    return f"turn-{blake2b(f'{run.trace_id}/{scope.place}'.encode(), digest_size=6).hexdigest()}"


def digest_of(trajectory: Trajectory) -> TrajectoryDigest | None:
    """What a run did, in short; None when it called nothing."""
    if not trajectory.steps:
        return None
    told: list[str] = []
    for step in trajectory.steps:
        seen = step.error if step.error is not None else step.serialise_for_llm()
        text = seen if isinstance(seen, str) else _json(seen)
        told.append(f"{step.action.next_node}: {text[:_OBSERVATION_CHARS]}")
    thoughts = " ".join(step.action.thought for step in trajectory.steps if step.action.thought)
    tools = list(dict.fromkeys(step.action.next_node for step in trajectory.steps))
    return TrajectoryDigest(tools, "\n".join(told), thoughts[:_OBSERVATION_CHARS] or None, _artifacts(trajectory))


def _artifacts(trajectory: Trajectory) -> list[str]:
    found: list[str] = []
    for tool, fields in trajectory.artifacts.items():
        if not isinstance(fields, Mapping):
            continue
        for name, value in fields.items():
            ref = value.get("id") if isinstance(value, Mapping) else None
            found.append(str(ref) if ref else f"{tool}.{name}")
    return found


def _json(value: Any) -> str:
    from pydantic_core import to_json

    return to_json(value, fallback=str).decode()
