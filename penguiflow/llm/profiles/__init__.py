"""What models can do."""

from __future__ import annotations

from penguiflow.llm.profiles.model import ModelProfile

__all__ = ["ModelProfile"]
