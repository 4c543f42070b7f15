"""Which code is it: one hash over the sources that a flow imported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def hash_source(content: bytes) -> str:
    """sha256 of a file's bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def version_of(sources: Mapping[str, str]) -> str:
    """sha256 over the sorted lines `path NUL hash LF`; `sources` maps relative paths to `hash_source`."""
    digest = hashlib.sha256()
    for path, content_hash in sorted(sources.items()):
        digest.update(f"{path}\0{content_hash}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
