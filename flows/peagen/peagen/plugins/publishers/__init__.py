"""Where events go."""

from __future__ import annotations
