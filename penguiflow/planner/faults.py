"""What is wrong with data, for a model to read."""

from __future__ import annotations

from pydantic import ValidationError

__all__ = ["faults_of"]


def faults_of(error: ValidationError, whole: str = "args") -> str:
    """Each fault with its place (`whole` for all of the data), in one line.

    The values are left out: they may be long, and who reads it has them.
    """
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or whole}: {each['msg']}" for each in faults)
