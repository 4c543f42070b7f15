"""Everything that happens in a run, as one log that can be read, compared and run again."""

from __future__ import annotations
