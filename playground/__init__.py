"""The developer's tools: the `pf` command, the runtime host and the dashboard."""

from __future__ import annotations
