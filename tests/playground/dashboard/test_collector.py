from __future__ import annotations

import subprocess
import sys

CODE = """
import gc
from playground.dashboard import collector

collector.tune()
kept = [[number] for number in range(1000)]
collector.leave()
assert not gc.isenabled() and gc.get_count()[0] < 1000 and gc.get_freeze_count() > 1000
"""


def test_who_leaves_does_not_wait_for_a_last_collection() -> None:
    assert subprocess.run([sys.executable, "-c", CODE], check=False).returncode == 0
