from __future__ import annotations

import json
from pathlib import Path

from playground.cli.schemas import main, schemas

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "schema"


def test_the_schemas_in_the_docs_are_those_of_the_code() -> None:
    written = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}

    assert written == {name: json.loads(text) for name, text in schemas().items()}, (
        "run `python -m playground.cli.schemas docs/schema`"
    )


def test_the_script_writes_them(tmp_path: Path) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert main([]) == 2
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(schemas())
