"""The container files, as far as they can be checked without an engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from peeragent.settings import Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "flows" / "peeragent"


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return found


def test_clients_use_the_port_that_the_store_listens_on(services: dict[str, Any]) -> None:
    url = urlsplit(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", services["api"]["environment"]["REDIS_URL"]))
    command = " ".join(services["valkey"]["command"])
    # The earlier service looked for Redis at a port where nobody listened.
    assert (url.hostname, url.port) == ("valkey", 6379)
    assert "--port" not in command
    assert "--requirepass" in command


def test_only_the_service_is_published_and_only_here(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if service.get("ports")] == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in services["api"]["ports"])


def test_what_is_configured_is_read(services: dict[str, Any]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for service in ("api", "worker"):
        assert set(services[service]["environment"]) <= known
        assert services[service]["environment"]["API_KEYS"].startswith("${API_KEYS:?")


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody_special() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert all((ROOT / source).exists() for sources in copied for source in sources)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] not in {"root", "0"}
    assert f"EXPOSE {Settings().api_port}" in lines
    entry = next(line for line in lines if line.startswith("ENTRYPOINT"))
    scripts = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["scripts"]
    assert yaml.safe_load(entry.removeprefix("ENTRYPOINT"))[0] in scripts


def test_the_stages_gate_each_other() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "peeragent.yml").read_text())["jobs"]
    assert list(jobs) == ["lint", "test", "security", "build"]
    assert [job.get("needs") for job in jobs.values()] == [None, "lint", "test", "security"]
    assert "continue-on-error" not in str(jobs)
    runs = [step["run"] for step in jobs["security"]["steps"] if "run" in step]
    assert "sh flows/peeragent/audit.sh" in runs


def test_what_is_looked_up_is_what_the_image_has() -> None:
    image, audit = ((FOLDER / name).read_text() for name in ("Dockerfile", "audit.sh"))
    for option in ("--frozen", "--no-dev", "--package penguiflow-peeragent", "--extra mongo"):
        assert option in image
        assert option in audit
