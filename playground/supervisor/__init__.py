"""Starts workers, watches them and the project's files, and says which worker serves."""

from __future__ import annotations
