"""The rounds in a real terminal: each question waits for what is typed."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

HANG_S = 120.0
ANSWER = b"About 3 months ago, 20% less in the north\n"


def test_pf_run_asks_and_goes_on(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    pf = str(Path(sys.executable).with_name("pf"))
    process = subprocess.Popen(
        [pf, "run", "peeragent.flow:flow", "--input", json.dumps({"task": "Our sales dropped 20%"})],
        cwd=tmp_path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PENGUIFLOW_HOME": str(tmp_path / "home")},
    )
    os.close(terminal)
    shown, answered, deadline = b"", 0, time.monotonic() + HANG_S
    try:
        with suppress(OSError):  # the other end is closed when the program is over
            while time.monotonic() < deadline:
                if not select.select([master], [], [], 1.0)[0]:
                    continue
                shown += os.read(master, 65536)
                while shown.count(b"Round ") > answered:
                    answered += 1
                    os.write(master, ANSWER)
        process.wait(timeout=HANG_S)
    finally:
        process.kill()
        process.wait()
        os.close(master)

    text = shown.decode(errors="replace")
    assert process.returncode == 0, text
    assert '"full_analysis"' in text
    assert answered == 9
    assert text.count("🔍 Round 1/3 (identify): ") == 3
    assert text.count("🔬 Round 3/3 (diagnose): ") == 3
