"""Designs of experiments: factors, their levels, and a payload for each combination of them."""

from __future__ import annotations

from peagen.doe.generate import DoeOptions, generate_payload
from peagen.doe.patches import PatchFailed, PatchTargetMissingError
from peagen.doe.spec import DoeSpecError, load_spec

__all__ = ["DoeOptions", "DoeSpecError", "PatchFailed", "PatchTargetMissingError", "generate_payload", "load_spec"]
