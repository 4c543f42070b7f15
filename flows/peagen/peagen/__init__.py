"""Peagen: projects from templates and a dependency graph."""

from __future__ import annotations

VERSION = "4.0.0.dev0"
