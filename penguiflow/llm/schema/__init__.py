"""Forms of schemas: which a provider takes, and what fits one."""

from __future__ import annotations
