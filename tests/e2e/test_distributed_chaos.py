"""Workers, the bus and PostgreSQL are killed while a distributed flow runs: two minutes of the chaos script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 1200.0


@pytest.mark.parametrize("engine", ["redis", "nats"])
def test_every_promise_is_kept(engine: str) -> None:
    command = [sys.executable, "-m", "benchmarks.distributed.chaos", "--minutes", "2", "--bus", engine]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "every promise was kept" in done.stdout
