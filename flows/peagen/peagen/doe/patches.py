"""What a level does to a document: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7396), a YAML overlay, a git diff."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peagen.errors import GitError, PeagenError

PATCH_KINDS = ("git", "json-patch", "json-merge", "yaml-overlay")


class PatchFailed(PeagenError):
    """A patch cannot be applied."""


class PatchTargetMissingError(PatchFailed):
    """What a patch changes is not there."""


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: mappings are merged, null takes a key away, everything else takes the place of what was there."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def overlay(target: Any, patch: Any) -> Any:
    """Mappings are merged; everything else, null too, takes the place of what was there."""
    if not isinstance(patch, Mapping) or not isinstance(target, Mapping):
        return copy.deepcopy(patch)
    return {**target, **{key: overlay(target.get(key), value) for key, value in patch.items()}}


def json_patch(document: Any, operations: Sequence[Any], where: str = "") -> Any:
    """RFC 6902: a new document; the one that is given stays as it is.

    Raises:
        PatchTargetMissingError: a path leads nowhere.
        PatchFailed: an operation is none, or a test does not hold.
    """
    result = copy.deepcopy(document)
    if not isinstance(operations, list):
        raise PatchFailed("a JSON patch is a list of operations", where=where)
    for number, operation in enumerate(operations):
        place = f"{where}: operation {number}" if where else f"operation {number}"
        if not isinstance(operation, Mapping) or not isinstance(operation.get("path"), str):
            raise PatchFailed("it is no operation with an op and a path", where=place)
        result = _operate(result, operation, place)
    return result


def git_patch(name: str, text: str, patch: Path) -> str:
    """The text with a unified diff applied to it, in which it is called `name`.

    Raises:
        PatchFailed: the diff does not fit.
    """
    from peagen.handlers.git import git

    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise PatchFailed(f"{name} leads out of the work-tree", where=str(patch))
    with tempfile.TemporaryDirectory(prefix="peagen-doe-") as folder:
        path = Path(folder) / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        try:
            # A repository of its own: else git would apply it in the one around.
            git("init", "--quiet", cwd=Path(folder))
            git("apply", "--recount", "--whitespace=nowarn", "--", str(patch.resolve()), cwd=Path(folder))
        except GitError as error:
            raise PatchFailed(error.message, where=str(patch)) from None
        if not path.is_file():
            raise PatchFailed(f"it does not leave a file {name}", where=str(patch))
        return path.read_text("utf-8")


def _operate(document: Any, operation: Mapping[str, Any], where: str) -> Any:
    op, path = operation.get("op"), _pointer(operation["path"], where)
    if op in {"add", "replace", "test"} and "value" not in operation:
        raise PatchFailed(f"{op} needs a value", where=where)
    match op:
        case "add":
            return _put(document, path, copy.deepcopy(operation["value"]), where, replace=False)
        case "replace":
            return _put(document, path, copy.deepcopy(operation["value"]), where, replace=True)
        case "remove":
            return _take(document, path, where)[0]
        case "test":
            if _get(document, path, where) != operation["value"]:
                raise PatchFailed(f"{operation['path']} is not what the patch expects", where=where)
            return document
        case "move" | "copy":
            source = _pointer(str(operation.get("from", "-")), where)
            value = copy.deepcopy(_get(document, source, where))
            if op == "move":
                if path[: len(source)] == source and len(path) > len(source):
                    raise PatchFailed("a value cannot be moved into itself", where=where)
                document = _take(document, source, where)[0]
            return _put(document, path, value, where, replace=False)
    raise PatchFailed(f"there is no operation {op!r}", where=where)


def _pointer(path: str, where: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise PatchFailed(f"the path {path!r} must begin with /", where=where)
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _get(document: Any, path: Sequence[str], where: str) -> Any:
    found = document
    for depth, part in enumerate(path):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and _is_index(part) and int(part) < len(found):
            found = found[int(part)]
        else:
            raise PatchTargetMissingError(f"there is no /{'/'.join(path[: depth + 1])}", where=where)
    return found


def _put(document: Any, path: Sequence[str], value: Any, where: str, *, replace: bool) -> Any:
    if not path:
        return value
    if replace:
        _get(document, path, where)
    parent, last = _get(document, path[:-1], where), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and replace:
        parent[int(last)] = value
    elif isinstance(parent, list) and (last == "-" or (_is_index(last) and int(last) <= len(parent))):
        parent.insert(len(parent) if last == "-" else int(last), value)
    else:
        raise PatchTargetMissingError(f"nothing can be added at /{'/'.join(path)}", where=where)
    return document


def _take(document: Any, path: Sequence[str], where: str) -> tuple[Any, Any]:
    value = _get(document, path, where)
    if not path:
        return None, value
    parent = _get(document, path[:-1], where)
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[int(path[-1])]
    return document, value


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")
