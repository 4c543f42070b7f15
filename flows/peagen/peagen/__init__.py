"""Peagen: projects from templates and a dependency graph."""

from __future__ import annotations
