"""The bundled template sets: each folder here is one."""

from __future__ import annotations
