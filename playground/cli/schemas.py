"""Writes the JSON Schemas of everything that others may read: `python -m playground.cli.schemas docs/schema`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from penguiflow.recording.schema import events_schema
from playground import protocol
from playground.cli.breakpoints import BreakpointsOutput
from playground.cli.calls import CallsOutput
from playground.cli.doctor import DoctorOutput
from playground.cli.kv import KvOutput, ValuesOutput
from playground.cli.letters import ChangedLettersOutput, LettersOutput
from playground.cli.memory import MemoriesOutput, MemoryOutput, SessionsOutput
from playground.cli.moment import MomentOutput
from playground.cli.new import NewOutput
from playground.cli.outputs import (
    DiffOutput,
    EventOutput,
    GraphOutput,
    InspectOutput,
    MadeTestOutput,
    ReplayOutput,
    RestoreOutput,
    RunOutput,
    ServeOutput,
    TracesOutput,
    WebOutput,
)
from playground.cli.prune import PruneOutput
from playground.cli.queues import QueuesOutput, WorkersOutput
from playground.cli.search import SearchOutput
from playground.cli.share import ExportOutput, ImportOutput
from playground.cli.stats import StatsOutput
from playground.cli.stop_lines import DecisionLine, StopLine
from playground.cli.worker import WorkerOutput

__all__ = ["main", "schemas"]

_OUTPUTS: Mapping[str, type[BaseModel]] = {
    "run": RunOutput,
    "run_stop": StopLine,
    "run_decision": DecisionLine,
    "replay": ReplayOutput,
    "restore": RestoreOutput,
    "test": MadeTestOutput,
    "traces": TracesOutput,
    "inspect": InspectOutput,
    "inspect_llm": CallsOutput,
    "inspect_at": MomentOutput,
    "stats": StatsOutput,
    "search": SearchOutput,
    "sessions": SessionsOutput,
    "doctor": DoctorOutput,
    "new": NewOutput,
    "kv": ValuesOutput,
    "kv_get": KvOutput,
    "memory": MemoriesOutput,
    "memory_show": MemoryOutput,
    "diff": DiffOutput,
    "export": ExportOutput,
    "import": ImportOutput,
    "graph": GraphOutput,
    "prune": PruneOutput,
    "break": BreakpointsOutput,
    "worker": WorkerOutput,
    "queues": QueuesOutput,
    "workers": WorkersOutput,
    "dead_letters": LettersOutput,
    "dead_letters_change": ChangedLettersOutput,
    "serve": ServeOutput,
    "web": WebOutput,
    "trace_event": EventOutput,
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """The text of each file, by its name."""
    adapter: TypeAdapter[Any] = TypeAdapter(protocol.Frame)
    found = {name: model.model_json_schema(mode="serialization") for name, model in _OUTPUTS.items()}
    found["events"] = events_schema()
    found["frame"] = {"title": "Frame", **adapter.json_schema()}
    return {
        f"{name}.json": json.dumps({"$schema": _DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"
        for name, schema in found.items()
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files into a folder."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m playground.cli.schemas FOLDER\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
