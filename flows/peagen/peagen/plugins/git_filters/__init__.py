"""Where artifacts are kept, and what git's filters keep: files by key, contents by their hash."""

from __future__ import annotations

from peagen.plugins.git_filters.filtering import clean, smudge

__all__ = ["clean", "smudge"]
