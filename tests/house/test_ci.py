"""`.ci/run` runs the README's test command and the checks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which `python3` writes down what it is asked to run, and fails for what is in `fails`."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    shutil.copy(ROOT / "README.md", tmp_path)
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n! grep -qx "$2" {tmp_path}/fails\n')
    python.chmod(0o755)
    (tmp_path / "fails").write_text("")
    return tmp_path


def run(checkout: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    done = subprocess.run(
        [checkout / ".ci" / "run", *arguments],
        cwd="/",
        env={"PATH": f"{checkout / 'bin'}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    calls = checkout / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_it_runs_the_tests_and_then_the_checks(checkout: Path) -> None:
    done, calls = run(checkout, "--maxfail=1")

    assert done.returncode == 0, done.stderr
    assert [call.split()[:2] for call in calls] == [
        ["bootstrap.py", each] for each in ("pytest", "ruff", "ruff", "mypy", "lint-imports")
    ]
    assert "--cov-report=xml" in calls[0]
    assert calls[0].endswith(" --maxfail=1")


@pytest.mark.parametrize("failing", ["pytest", "ruff", "mypy", "lint-imports"])
def test_a_failure_ends_it(checkout: Path, failing: str) -> None:
    (checkout / "fails").write_text(f"{failing}\n")

    done, calls = run(checkout)

    assert done.returncode != 0
    assert calls[-1].split()[1] == failing


def test_a_readme_without_the_test_command_is_an_error(checkout: Path) -> None:
    (checkout / "README.md").write_text("```sh\npython3 bootstrap.py pf tui\n```\n")

    done, calls = run(checkout)

    assert (done.returncode, calls) == (2, [])
    assert "is no test command" in done.stderr
