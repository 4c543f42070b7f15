"""From what a person names on the command line to something that runs: targets, imports, offers, versions."""

from __future__ import annotations
