"""What `peagen init` writes. A name that begins with `dot_` begins with a dot there; `.j2` is rendered and dropped."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
