"""YAML documents, and what a schema has against them, with lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peagen.errors import PeagenError

SCHEMAS = Path(__file__).parent.parent / "schemas"
_MAX_BYTES = 20_000_000
_MAX_PROBLEMS = 20
_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "empty",
    "number": "a number",
    "object": "a mapping",
    "string": "a text",
}


class DocumentError(PeagenError):
    """A file cannot be read, is no YAML, or is not what it should be; `errors` holds one text for each place."""

    def __init__(self, message: str, *, errors: Sequence[str] = (), where: str = "", hint: str = "") -> None:
        shown = "".join(f"\n  - {error}" for error in errors)
        super().__init__(f"{message}{shown}", where=where, hint=hint)
        self.errors = list(errors)


def read_text(path: Path) -> str:
    """A file's text; `DocumentError` if there is none."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DocumentError(f"it is larger than {_MAX_BYTES} bytes", where=str(path))
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"it is not UTF-8 (byte {error.start})", where=str(path)) from None
    except OSError as error:
        raise DocumentError(f"it cannot be read: {error.strerror}", where=str(path)) from None


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text stands for; `DocumentError` with its line if it is none."""
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{where}:{mark.line + 1}" if mark is not None else where
        raise DocumentError(f"this is no YAML: {getattr(error, 'problem', None) or error}", where=at) from None
    except RecursionError:
        raise DocumentError("the document is nested too deeply", where=where) from None
    except ValueError as error:  # a date that there is not, as 2024-13-01
        raise DocumentError(f"a value cannot be read: {error}", where=where) from None


def dump_yaml(value: Any) -> str:
    """A document as text: keys in their order, without references."""
    import io

    import yaml

    text = io.StringIO()
    dumper = yaml.SafeDumper(text, sort_keys=False, allow_unicode=True, width=120)
    dumper.ignore_aliases = lambda _: True
    dumper.open()
    dumper.represent(value)
    dumper.close()
    return text.getvalue()


def validate(document: Any, schema: str, text: str, where: str) -> None:
    """Checks a document against one of the schemas of this package; `DocumentError` with all that is wrong."""
    import jsonschema

    validator = jsonschema.Draft7Validator(json.loads((SCHEMAS / schema).read_text("utf-8")))
    lines: Lines | None = None
    problems: list[str] = []
    for error in validator.iter_errors(document):
        lines = lines or Lines(text)
        path = list(error.absolute_path)
        line = lines.of(path)
        problems.append(f"{shown(path)}{f' (line {line})' if line else ''}: {_message(error)}")
        if len(problems) == _MAX_PROBLEMS:
            problems.append("… and maybe more")
            break
    if problems:
        raise DocumentError("it does not match its schema:", errors=problems, where=where)


def shown(path: Sequence[str | int]) -> str:
    """A path as people write it: `factors[0].levels`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".") or "the root"


class Lines:
    """Where things stand in a YAML text."""

    def __init__(self, text: str) -> None:
        import yaml

        self._root = yaml.compose(text, Loader=_loader()) if text else None

    def of(self, path: Sequence[str | int]) -> int | None:
        """The line, from 1, of what is at the path, or of the nearest thing around it."""
        node = self._root
        line: int | None = node.start_mark.line + 1 if node is not None else None
        for part in path:
            found = next((each for each in _entries(node) if str(each[0]) == str(part)), None)
            if found is None:
                return line
            _, node, line = found
        return line


def _entries(node: Any) -> Iterator[tuple[Any, Any, int]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, value, key.start_mark.line + 1) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((number, item, item.start_mark.line + 1) for number, item in enumerate(node.value))


def _message(error: Any) -> str:
    if error.validator == "type":
        wanted = error.validator_value
        names = wanted if isinstance(wanted, list) else [wanted]
        return f"must be {' or '.join(_KINDS[name] for name in names)}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{missing[0] if missing else 'a key'} is missing"
    if error.validator == "additionalProperties":
        unknown = [str(key) for key in error.instance if key not in error.schema.get("properties", {})]
        return f"nobody reads {', '.join(unknown)}; there are {', '.join(error.schema.get('properties', {}))}"
    if error.validator == "enum":
        return f"must be one of {', '.join(map(str, error.validator_value))}, not {str(error.instance)[:60]!r}"
    if error.validator == "const":
        return f"must be {error.validator_value!r}, not {str(error.instance)[:60]!r}"
    if error.validator in {"minItems", "minLength", "minProperties"}:
        return "must not be empty"
    message = str(error.message)
    return message if len(message) < 200 else f"{message[:200]}…"


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
