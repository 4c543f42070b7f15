"""Workers, the bus and PostgreSQL are killed while a distributed flow runs: the short form of the chaos script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 600.0


@pytest.mark.parametrize("engine", ["redis", "nats"])
def test_every_promise_is_kept(engine: str) -> None:
    # Workers that get no processor lose leases, too: what is no poison has to have many.
    options = ["--minutes", "0.2", "--lease", "2", "--deliveries", "18", "--bus", engine]
    command = [sys.executable, "-m", "benchmarks.distributed.chaos", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "every promise was kept" in done.stdout
