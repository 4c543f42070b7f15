"""Talking to language models: one protocol, a scripted model that needs no key, and providers through an extra."""

from __future__ import annotations
