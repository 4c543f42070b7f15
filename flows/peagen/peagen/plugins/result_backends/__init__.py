"""Where the results of tasks are kept."""

from __future__ import annotations
