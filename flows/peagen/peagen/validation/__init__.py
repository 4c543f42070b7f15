"""Checks of the files that Peagen reads: what is wrong, by path and by line."""

from __future__ import annotations
