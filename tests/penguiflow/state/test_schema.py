"""Making the tables."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penguiflow.state import schema


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        assert schema.check(connection, "x") == 0
        schema.migrate(connection, "x")
        before = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        schema.migrate(connection, "x")
        assert connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == before
        assert schema.check(connection, "x") == schema.VERSION
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_MIGRATIONS", (("CREATE TABLE one (x)", "CREATE NONSENSE"),))
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(connection, "x")
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        assert schema.check(connection, "x") == 0


def test_only_what_is_missing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        schema.migrate(connection, "x")
        monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, ("CREATE TABLE second (x)",)))
        monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
        schema.migrate(connection, "x")
        assert schema.check(connection, "x") == schema.VERSION
        assert connection.execute("SELECT count(*) FROM second").fetchone() == (0,)


def test_a_list_of_traces_does_not_read_the_whole_table(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        schema.migrate(connection, "x")
        plans = [
            "SELECT * FROM traces ORDER BY started DESC, id DESC LIMIT 50",
            "SELECT * FROM traces WHERE trace_id >= 'a' AND trace_id < 'b'",
            "SELECT DISTINCT writer FROM traces WHERE status = 'running'",
            "SELECT data FROM event_chunks WHERE trace = 1 AND last_seq > 5 ORDER BY last_seq",
        ]
        for sql in plans:
            plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
            assert "USING" in plan, sql
            assert "TEMP B-TREE" not in plan, sql
