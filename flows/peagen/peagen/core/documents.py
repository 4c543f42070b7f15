"""YAML documents, and what a schema has against them, with lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from peagen.errors import PeagenError

SCHEMAS = Path(__file__).parent.parent / "schemas"
_MAX_BYTES = 20_000_000
_MAX_DEPTH = 100
_MAX_PROBLEMS = 20
_MAX_MESSAGE = 200
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
        check_depth(text)
        return yaml.load(text, Loader=_loader())  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{where}:{mark.line + 1}" if mark is not None else where
        raise DocumentError(f"this is no YAML: {getattr(error, 'problem', None) or error}", where=at) from None
    except RecursionError:
        raise DocumentError("the document is nested too deeply", where=where) from None
    except ValueError as error:  # a date that there is not, as 2024-13-01
        raise DocumentError(f"a value cannot be read: {error}", where=where) from None


def check_depth(text: str) -> None:
    """Raises `RecursionError` for YAML that is nested so deeply that the loader, which is C, would end the process."""
    import yaml

    if len(text) <= _MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise RecursionError
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


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
        path, key, message = schema_problem(error)
        line = lines.of([*path, key] if key is not None else path)
        problems.append(f"{shown(path)}{f' (line {line})' if line else ''}: {message}")
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


def schema_problem(error: Any) -> tuple[list[str | int], str | None, str]:
    """What a validator has to say: the path, the key in it that should not be there, and the message."""
    key = None
    message = str(error.message)
    if error.validator == "type":
        wanted = error.validator_value
        names = wanted if isinstance(wanted, list) else [wanted]
        message = f"must be {' or '.join(_KINDS[name] for name in names)}, not {kind_of(error.instance)}"
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        message = f"{missing[0] if missing else ''} is missing"
    elif error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        key = next((str(name) for name in error.instance if name not in known), None)
        message = f"{key} is not known here; there are {', '.join(known)}"
    elif error.validator in {"minItems", "minLength"}:
        message = "must not be empty"
    elif error.validator == "const":
        message = f"must be {error.validator_value!r}, not {error.instance!r}"
    elif error.validator == "enum":
        message = f"must be one of {', '.join(map(str, error.validator_value))}, not {kind_of(error.instance)}"
    if len(message) > _MAX_MESSAGE:
        message = f"{message[:_MAX_MESSAGE]}…"
    return list(error.absolute_path), key, message


def kind_of(value: Any) -> str:
    """What a value is, as messages say it."""
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"{str(value)[:60]!r}"


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
