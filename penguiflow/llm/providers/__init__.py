"""Where models are."""

from __future__ import annotations

from penguiflow.llm.providers.base import Provider

__all__ = ["Provider"]
