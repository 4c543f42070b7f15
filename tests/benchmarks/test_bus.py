"""The comparison of buses with bare clients runs; its figures are not looked at here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_contest_is_told() -> None:
    command = [sys.executable, "-m", "benchmarks.bus", "--rounds", "1", "--messages", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = [line.split("  ")[0] for line in done.stdout.splitlines()[1:]]
    assert told == [
        f"{contest[0]} {batch} at a time {contest[1]}".rstrip()
        for batch in (1, 100)
        for contest in (("redis", ""), ("nats", "confirmed"), ("nats", "unconfirmed"))
    ]
