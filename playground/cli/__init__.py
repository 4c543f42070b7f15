"""The `pf` command. Each command is one module here, imported when it is used."""

from __future__ import annotations
