"""What all tables of a configuration share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table. What it does not know of is kept."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)
