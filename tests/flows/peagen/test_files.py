"""What a run looks at to see whether a file is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peagen.core.contexts import ProjectContext
from peagen.core.lookup import Lookup
from peagen.run.files import Digests, PlannedFile, declared


def planned(**extras: Any) -> PlannedFile:
    return PlannedFile(
        name="src/parts/x.js",
        project="Demo",
        context=ProjectContext({}),
        shared_digest="",
        record={"RENDERED_FILE_NAME": "src/parts/x.js", "EXTRAS": extras},
        set_name="",
        set_folder=Path("/nowhere"),
        process_type="COPY",
        lookup=Lookup((), Path("/nowhere")),
    )


def test_what_a_record_needs_is_looked_at_wherever_a_template_may_look() -> None:
    assert declared(planned(DEPENDENCIES=["a", "./b", "../c", "d/./e"], EXAMPLES=["f"])) == [
        "work:a",
        "work:b",
        "work:d/e",
        "work:f",
        "work:src/c",
        "work:src/parts/b",
    ]


def test_what_lies_elsewhere_is_not_looked_at() -> None:
    assert declared(planned(DEPENDENCIES=["/dev/zero", "../../../x", "a/../../x", "", None, 1], EXAMPLES="x")) == []


def test_only_files_have_a_hash(tmp_path: Path) -> None:
    digests = Digests()
    (tmp_path / "a").write_text("x")
    first = digests.of(tmp_path / "a")
    assert first is not None
    assert digests.of(tmp_path / "a") == first
    (tmp_path / "a").write_text("longer")
    assert digests.of(tmp_path / "a") != first
    for path in (
        tmp_path,
        tmp_path / "gone",
        Path("/dev/zero"),
        Path("/proc/kcore"),
        tmp_path / "a\0b",
        tmp_path / ("x" * 5000),
    ):
        assert digests.of(path) is None
