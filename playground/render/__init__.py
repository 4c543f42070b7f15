"""Traces and graphs as plain text, Mermaid and DOT: data in, lines out, no terminal needed."""

from __future__ import annotations
