"""JSON Patch, JSON Merge Patch and overlays."""

from __future__ import annotations

from typing import Any

import pytest

from peagen.doe.patches import PatchFailed, PatchTargetMissingError, json_patch, merge_patch, overlay


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "add", "path": "", "value": []}], []),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/1", "value": 9}], {"a": [1, 9]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": {"x": 1}}, [{"op": "move", "from": "/a/x", "path": "/b"}], {"a": {}, "b": 1}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a/b": 1, "c~d": 2}, [{"op": "replace", "path": "/a~1b", "value": 3}], {"a/b": 3, "c~d": 2}),
        ({"a/b": 1, "c~d": 2}, [{"op": "remove", "path": "/c~0d"}], {"a/b": 1}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
    ],
)
def test_json_patch(document: Any, operations: list[Any], expected: Any) -> None:
    before = repr(document)
    assert json_patch(document, operations) == expected
    assert repr(document) == before


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ({"op": "replace", "path": "/b", "value": 1}, PatchTargetMissingError),
        ({"op": "remove", "path": "/b"}, PatchTargetMissingError),
        ({"op": "add", "path": "/b/c", "value": 1}, PatchTargetMissingError),
        ({"op": "add", "path": "/l/3", "value": 1}, PatchTargetMissingError),
        ({"op": "add", "path": "/l/01", "value": 1}, PatchTargetMissingError),
        ({"op": "add", "path": "/s/0", "value": 1}, PatchTargetMissingError),
        ({"op": "replace", "path": "/l/-", "value": 1}, PatchTargetMissingError),
        ({"op": "copy", "from": "/gone", "path": "/x"}, PatchTargetMissingError),
        ({"op": "move", "from": "/l", "path": "/l/0"}, PatchFailed),
        ({"op": "move", "path": "/l"}, PatchFailed),
        ({"op": "test", "path": "/s", "value": "other"}, PatchFailed),
        ({"op": "add", "path": "/x"}, PatchFailed),
        ({"op": "add", "path": "x", "value": 1}, PatchFailed),
        ({"op": "shout", "path": "/s"}, PatchFailed),
        ({"op": "add"}, PatchFailed),
        ("add", PatchFailed),
    ],
)
def test_json_patches_that_do_not_fit(operation: Any, kind: type[Exception]) -> None:
    with pytest.raises(PatchFailed) as caught:
        json_patch({"s": "text", "l": [1, 2]}, [operation])
    assert caught.type is kind


@pytest.mark.parametrize(
    ("target", "patch", "merged", "laid_over"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": 1}, {"a": None}, {"b": 1}, {"a": None, "b": 1}),
        ({"a": ["b"]}, {"a": [1]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"x": 1}}, {"a": {"y": {"z": None}}}, {"a": {"x": 1, "y": {}}}, {"a": {"x": 1, "y": {"z": None}}}),
        ({"a": 1}, ["c"], ["c"], ["c"]),
        ([1], {"a": 1}, {"a": 1}, {"a": 1}),
    ],
)
def test_merge_patches_and_overlays(target: Any, patch: Any, merged: Any, laid_over: Any) -> None:
    assert merge_patch(target, patch) == merged
    assert overlay(target, patch) == laid_over
