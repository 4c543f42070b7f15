"""PeerAgent: a service of specialized agents, on penguiflow."""

from __future__ import annotations

VERSION = "4.0.0.dev0"
