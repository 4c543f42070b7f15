"""What a run runs on."""

from __future__ import annotations

import platform
from functools import cache

__all__ = ["environment"]


@cache
def environment() -> dict[str, str]:
    """Versions of Python and penguiflow, and the platform."""
    from penguiflow import __version__

    return {
        "python": platform.python_version(),
        "penguiflow": __version__,
        "platform": f"{platform.system()} {platform.machine()}".strip(),
    }
