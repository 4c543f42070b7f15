"""Short-term memory: what a planner remembers of a conversation from one run to the next.

Give `ReactPlanner(short_term_memory=ShortTermMemoryConfig(strategy="rolling_summary"))` and tell each run whose it is:
`tool_context={"tenant_id": …, "user_id": …, "session_id": …}`, or `memory_key=MemoryKey(…)`. Without all three a run
remembers nothing, so that no two users can share a memory by accident.
"""

from __future__ import annotations

from penguiflow.planner.memory.bank import MemoryBank
from penguiflow.planner.memory.config import (
    MemoryBudget,
    MemoryBudgetExceeded,
    MemoryConflict,
    MemoryHealth,
    MemoryIsolation,
    MemoryKey,
    ShortTermMemoryConfig,
    default_token_estimator,
)
from penguiflow.planner.memory.editing import MemoryChange, MemoryEditor, MemoryView
from penguiflow.planner.memory.protocols import (
    ShortTermMemory,
    ShortTermMemoryArtifacts,
    ShortTermMemoryPersistence,
    ShortTermMemorySerializable,
)
from penguiflow.planner.memory.short_term import DefaultShortTermMemory
from penguiflow.planner.memory.turns import ConversationTurn, TrajectoryDigest

__all__ = [
    "ConversationTurn",
    "DefaultShortTermMemory",
    "MemoryBank",
    "MemoryBudget",
    "MemoryBudgetExceeded",
    "MemoryChange",
    "MemoryConflict",
    "MemoryEditor",
    "MemoryHealth",
    "MemoryIsolation",
    "MemoryKey",
    "MemoryView",
    "ShortTermMemory",
    "ShortTermMemoryArtifacts",
    "ShortTermMemoryConfig",
    "ShortTermMemoryPersistence",
    "ShortTermMemorySerializable",
    "TrajectoryDigest",
    "default_token_estimator",
]
