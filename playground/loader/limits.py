"""Bounds on what a load may take."""

from __future__ import annotations

LOAD_TIMEOUT_S = 30.0
"""How long one module may take to import, or one factory to return: large libraries, on a cold disk, take ten."""
