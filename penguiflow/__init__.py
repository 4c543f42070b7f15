"""Typed async agent flows that you can stop, look inside, change and run again, from your terminal."""

from __future__ import annotations
