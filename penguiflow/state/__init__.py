"""Where runs and their state are kept."""

from __future__ import annotations
