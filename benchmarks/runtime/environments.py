"""An environment for each runtime, made when it is first needed, below `.benchmarks/` in the checkout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Environment", "ready"]


class Environment(NamedTuple):
    """Where a runtime runs, and which workloads it has."""

    python: Path
    workloads: frozenset[str]


def ready(runtime: str) -> Environment:
    """The runtime's environment."""
    import json
    import subprocess

    root = Path(__file__).resolve().parents[2]
    python = Path(sys.executable)
    code = (
        f"import sys, json; sys.path.append({str(root)!r}); from benchmarks.runtime.child import workloads_of;"
        f" print(json.dumps(workloads_of({runtime!r})))"
    )
    done = subprocess.run([str(python), "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return Environment(python, frozenset(json.loads(done.stdout)))
