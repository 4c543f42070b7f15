"""How versions of a work-tree are kept."""

from __future__ import annotations
