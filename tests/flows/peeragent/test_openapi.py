"""The description of the routes, and whether the service keeps to it whatever it is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a service in a process of its own."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    environ = {**os.environ, "RATE_LIMITS": "false", "RECORD_TRACES": "false", "LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "peeragent", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield server.stderr.readline().split()[-1]
        finally:
            server.terminate()
            server.communicate()


def test_every_route_is_described_with_its_refusals_and_examples(url: str) -> None:
    told = httpx.get(f"{url}/openapi.json").json()
    execute = told["paths"]["/v1/agent/execute"]["post"]
    assert {"200", "400", "401", "403", "409", "413", "422", "429", "500", "502", "503", "504"} <= set(
        execute["responses"]
    )
    assert {each["name"] for each in execute["parameters"]} == {"Idempotency-Key", "X-Double-Text"}
    assert told["components"]["schemas"]["TaskExecuteRequest"]["examples"]
    assert told["components"]["schemas"]["TaskAnswer"]["examples"]
    assert set(told["components"]["securitySchemes"]) == {"bearer", "key"}
    assert {"key": []} in execute["security"]
    assert all("summary" in each for path in told["paths"].values() for each in path.values())


def test_no_answer_breaks_the_description(url: str, tmp_path: Path) -> None:
    """What schemathesis makes of the description is sent: examples, corner cases, random bodies."""
    command = [
        str(Path(sys.executable).parent / "st"),
        *("run", f"{url}/openapi.json", "--phases=examples,coverage,fuzzing", "--max-examples=5", "--seed=1"),
        # It counts headers that no description forbids. One thread: CPython 3.11's `ast.parse` fails in two at once.
        *("--exclude-checks=negative_data_rejection", "--workers=1", "--request-timeout=60"),
    ]
    # Nothing of ours runs in it, and coverage makes it three times as slow.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Tested: 20" in done.stdout
