"""`pf schema` prints what `docs/schema` has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from playground.cli.failures import ExitCode, Failure
from playground.cli.schema import show_schema
from playground.cli.schemas import schemas

FOLDER = Path(__file__).parents[3] / "docs" / "schema"


def test_the_files_are_as_they_would_be_written() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == schemas()


def test_the_schema_of_events(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_schema("events") == ExitCode.DONE
    schema = json.loads(capsys.readouterr().out)
    assert schema["version"] == 1
    assert schema["properties"]["seq"] == {"type": "integer", "minimum": 0}
    assert any(part["if"]["properties"]["kind"]["const"] == "message.enqueued" for part in schema["allOf"])


def test_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_schema(None) == ExitCode.DONE
    assert {"events", "run", "inspect"} <= set(capsys.readouterr().out.split())
    with pytest.raises(Failure, match="no schema 'nope'"):
        show_schema("nope")
