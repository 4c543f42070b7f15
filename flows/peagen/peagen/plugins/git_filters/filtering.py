"""What git calls: a content comes on stdin, what stands for it goes to stdout."""

from __future__ import annotations

import re
import sys

from peagen.errors import PeagenError
from peagen.plugins.git_filters.artifacts import open_artifacts

_POINTER = re.compile(rb"sha256:[0-9a-f]{64}\n?")


def clean(uri: str) -> int:
    """Keep what is on stdin; its hash goes to stdout. What is such a hash already stays. Returns the exit code."""
    try:
        data = sys.stdin.buffer.read()
        said = data if _POINTER.fullmatch(data) else f"{open_artifacts(uri).clean(data)}\n".encode()
    except PeagenError as error:
        return _told(error)
    sys.stdout.buffer.write(said)
    return 0


def smudge(uri: str) -> int:
    """The content of the hash on stdin goes to stdout; what is no hash goes as it is. Returns the exit code."""
    try:
        data = sys.stdin.buffer.read()
        said = open_artifacts(uri).smudge(data.decode()) if _POINTER.fullmatch(data) else data
    except PeagenError as error:
        return _told(error)
    sys.stdout.buffer.write(said)
    return 0


def _told(error: PeagenError) -> int:
    sys.stderr.write(f"peagen: {error.report()}\n")
    return 1
