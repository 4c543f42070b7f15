"""Bounds on what a load may take."""

from __future__ import annotations

LOAD_TIMEOUT_S = 10.0
"""How long one module may take to import, or one factory to return."""
