"""`${VAR}` in a configuration: replaced by what the environment says, left as it is where it says nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

_NAME = r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}"
_REFERENCE = re.compile(_NAME)
_BARE = re.compile(rf"^(\s*[^#=\n\"']+=\s*){_NAME}(\s*(?:#.*)?)$", re.MULTILINE)


def is_unset(value: str) -> bool:
    """Whether it is nothing but a reference that nothing stands behind."""
    return _REFERENCE.fullmatch(value.strip()) is not None


def quote_bare(text: str, environ: Mapping[str, str]) -> str:
    """Replaces `key = ${VAR}`, written without quotes: by a number or a truth value if it is one, else by a string."""

    def value_of(found: re.Match[str]) -> str:
        name = found[2]
        return f"{found[1]}{_literal(environ.get(name, f'${{{name}}}'))}{found[3]}"

    return _BARE.sub(value_of, text)


def _literal(value: str) -> str:
    try:
        if isinstance(tomllib.loads(f"x = {value}")["x"], bool | int | float):
            return value
    except (tomllib.TOMLDecodeError, KeyError):
        pass
    import json

    return json.dumps(value)  # JSON's strings are TOML's


def replace(value: Any, environ: Mapping[str, str]) -> Any:
    """The same with each `${VAR}` in its strings replaced; done after parsing, so a value cannot change the syntax."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: environ.get(found[1], found[0]), value)
    if isinstance(value, list):
        return [replace(each, environ) for each in value]
    if isinstance(value, dict):
        return {key: replace(each, environ) for key, each in value.items()}
    return value
