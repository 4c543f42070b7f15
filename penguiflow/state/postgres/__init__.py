"""Traces and state in PostgreSQL, where one machine is not enough: `PostgresStateStore`, of the extra `postgres`."""

from __future__ import annotations

from penguiflow.state.postgres.store import PostgresStateStore

__all__ = ["PostgresStateStore"]
