"""The order of files, against a model that is slow and simple."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peagen.core import sort_file_records
from peagen.core.graph import file_graph, immediate_dependencies
from peagen.core.records import FileRecord
from peagen.errors import DependencySortError, PtreeError, UnknownFile

NAMES = ["B", "a", "a/b", "b", "é", "z.py", "Z"]


def record(name: str, *needs: str, **fields: Any) -> FileRecord:
    return {"RENDERED_FILE_NAME": name, "EXTRAS": {"DEPENDENCIES": list(needs)}, **fields}


def order(*records: FileRecord, **options: Any) -> list[str]:
    return [found["RENDERED_FILE_NAME"] for found in sort_file_records(file_records=list(records), **options)[0]]


def naive(records: list[FileRecord], start_idx: int, start_file: str | None, transitive: bool) -> list[FileRecord]:
    """What the contract says, in the order in which it says it."""
    last = {found["RENDERED_FILE_NAME"]: found for found in records}
    needs = {name: {d for d in found["EXTRAS"]["DEPENDENCIES"] if d in last} for name, found in last.items()}
    if transitive and start_file:
        if start_file not in last:
            raise UnknownFile("unknown")
        kept = {start_file}
        while True:
            more = kept | {parent for name in kept for parent in needs[name]}
            if more == kept:
                break
            kept = more
        needs = {name: needs[name] for name in kept}
    names: list[str] = []
    while len(names) < len(needs):
        ready = sorted(name for name in needs if name not in names and needs[name] <= set(names))
        if not ready:
            raise DependencySortError(", ".join(sorted(set(needs) - set(names))))
        names.append(ready[0])
    if not transitive and start_file in names:
        names = names[names.index(start_file) :]
    return [last[name] for name in names[max(start_idx, 0) :]]


@given(
    edges=st.lists(st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from([*NAMES, "unknown"]), max_size=3))),
    start_idx=st.integers(-2, 5),
    start_file=st.none() | st.sampled_from([*NAMES, "unknown", ""]),
    transitive=st.booleans(),
)
def test_the_order_is_that_of_a_naive_model(
    edges: list[tuple[str, list[str]]], start_idx: int, start_file: str | None, transitive: bool
) -> None:
    records = [record(name, *needs, number=i) for i, (name, needs) in enumerate(edges)]
    options: dict[str, Any] = {"start_idx": start_idx, "start_file": start_file, "transitive": transitive}
    try:
        expected = naive(records, start_idx, start_file, transitive)
    except UnknownFile:
        with pytest.raises(UnknownFile, match=r"^File '.*' not found in payload\.$"):
            sort_file_records(file_records=records, **options)
    except DependencySortError as error:
        with pytest.raises(DependencySortError) as raised:
            sort_file_records(file_records=records, **options)
        told = f"Dependency sort failed: Cyclic dependencies detected among file entries: {error}"
        assert str(raised.value) == told
        _assert_is_circle(raised.value, records)
    else:
        assert sort_file_records(file_records=records, **options) == (expected, start_idx + len(expected))


def _assert_is_circle(error: DependencySortError, records: list[FileRecord]) -> None:
    circle = error.hint.removeprefix("One circle: ").partition(". Take")[0].split(" → ")
    parents = file_graph(records).parents
    assert circle[0] == circle[-1]
    assert all(need in parents[name] for name, need in itertools.pairwise(circle))


def test_the_readme_s_example() -> None:
    records = [
        record("components/db.py", "README.md"),
        record("README.md"),
        record("components/service.py", "components/db.py"),
    ]
    ordered, after = sort_file_records(file_records=records)
    assert [found["RENDERED_FILE_NAME"] for found in ordered] == [
        "README.md",
        "components/db.py",
        "components/service.py",
    ]
    assert after == 3


def test_names_are_compared_letter_by_letter() -> None:
    assert order(record("b", "./a"), record("c", "a/"), record("a")) == ["a", "b", "c"]
    assert order(record("b", "c", "c"), record("B"), record("c")) == ["B", "c", "b"]


def test_nothing_and_null_are_no_dependencies() -> None:
    assert order({"RENDERED_FILE_NAME": "b"}, {"RENDERED_FILE_NAME": "a", "EXTRAS": None}) == ["a", "b"]
    assert order({"RENDERED_FILE_NAME": "a", "EXTRAS": {"DEPENDENCIES": None}}) == ["a"]
    assert sort_file_records(file_records=[], start_idx=4) == ([], 4)


def test_what_is_no_record_is_told() -> None:
    with pytest.raises(PtreeError, match="no RENDERED_FILE_NAME"):
        sort_file_records(file_records=[{"FILE_NAME": "x"}])
    with pytest.raises(PtreeError, match="must be a list of file names"):
        sort_file_records(file_records=[{"RENDERED_FILE_NAME": "x", "EXTRAS": {"DEPENDENCIES": "a.py"}}])


def test_a_file_that_needs_itself_is_a_circle() -> None:
    with pytest.raises(DependencySortError, match=r"among file entries: a, b$") as raised:
        order(record("a", "a"), record("b", "a"), record("c"))
    assert "a → a" in raised.value.hint


def test_a_circle_elsewhere_does_not_matter() -> None:
    records = [record("a", "b"), record("b", "a"), record("c"), record("d", "c")]
    assert order(*records, transitive=True, start_file="d") == ["c", "d"]


def test_transitive_is_all_that_a_file_needs() -> None:
    records = [record("a"), record("b", "a"), record("c", "b"), record("d", "b"), record("e")]
    assert order(*records, transitive=True, start_file="c") == ["a", "b", "c"]
    assert order(*records, start_file="c") == ["c", "d", "e"]
    assert order(*records, start_file="c", start_idx=1) == ["d", "e"]


def test_immediate_dependencies() -> None:
    records = [record("a"), record("b", "a"), record("c", "b", "a", "elsewhere")]
    assert [found["RENDERED_FILE_NAME"] for found in immediate_dependencies(records, "c")] == ["a", "b"]
    with pytest.raises(ValueError, match="'x' not found"):
        immediate_dependencies(records, "x")


def test_descendants() -> None:
    graph = file_graph([record("a"), record("b", "a"), record("c", "b"), record("d")])
    assert graph.descendants(["a"]) == {"b", "c"}
    assert graph.descendants(["d"]) == set()


def test_a_deep_chain_needs_no_recursion() -> None:
    chain = [record(f"{i:05}", f"{i - 1:05}") for i in range(20_000)]
    assert len(order(*reversed(chain), transitive=True, start_file="19999")) == 20_000
    with pytest.raises(DependencySortError):
        order(*chain[1:], record("00000", "19999"))
