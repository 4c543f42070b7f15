"""What the commands do: functions that take a task and return plain data."""

from __future__ import annotations
