"""Before the workers start: the asserts of the tests are rewritten once, where every worker would do it for itself.

That is most of what it takes to collect them, and coverage makes it twice as long.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

WORTH_IT = 50
"""Files to rewrite; for fewer it takes longer to start processes."""


def pytest_configure(config: pytest.Config) -> None:
    """Collect in processes that write what pytest reads again; a failure is told by whoever collects after them."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        return
    if len(stale := [path for path in _files(config) if not _is_rewritten(path)]) < WORTH_IT:
        return
    # No coverage, and what is written is kept, whatever the environment says.
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-n", "0", "-p", "no:cacheprovider"]
    processes = min(os.cpu_count() or 1, 4)
    with ExitStack() as running:
        for number in range(processes):
            part = [str(path) for path in stale[number::processes]]
            process = subprocess.Popen(
                [*command, *part],
                cwd=config.rootpath,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            running.enter_context(process)


def _files(config: pytest.Config) -> list[Path]:
    found: set[Path] = set()
    for argument in config.args:
        path = config.invocation_params.dir / argument.partition("::")[0]
        found |= set(path.rglob("test_*.py")) if path.is_dir() else {path}
    return sorted(found)


def _is_rewritten(path: Path) -> bool:
    folder = path.parent / "__pycache__"
    if sys.pycache_prefix is not None:
        folder = Path(sys.pycache_prefix) / path.parent.relative_to(path.anchor)
    kept = folder / f"{path.stem}.{sys.implementation.cache_tag}-pytest-{pytest.__version__}.pyc"
    return kept.exists() and kept.stat().st_mtime >= path.stat().st_mtime
