"""The tables of `sqlite.py`.

Tasks and sessions are large, and their keys are chance: their rows stand in the order in which they came, and only an
index of the keys is written all over. (Files of before, where the rows themselves were, work as well.)
"""

from __future__ import annotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
  task_id TEXT PRIMARY KEY, owner TEXT NOT NULL, status TEXT NOT NULL, session_id TEXT NOT NULL,
  priority INTEGER NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, attempts INTEGER NOT NULL,
  queued INTEGER NOT NULL, lease_until REAL, not_before REAL NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0,
  record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_by_age ON tasks (created);
CREATE INDEX IF NOT EXISTS tasks_by_owner ON tasks (owner, created);
CREATE INDEX IF NOT EXISTS tasks_by_session ON tasks (session_id, created);
CREATE INDEX IF NOT EXISTS tasks_open ON tasks (priority DESC, created) WHERE status IN ('pending', 'processing');
CREATE TABLE IF NOT EXISTS transitions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, status TEXT NOT NULL, attempt INTEGER NOT NULL,
  worker TEXT, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
  task_id TEXT NOT NULL, id INTEGER NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (task_id, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
  session_id TEXT PRIMARY KEY, owner TEXT NOT NULL, version INTEGER NOT NULL, expires REAL NOT NULL,
  record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS holds (session_id TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (
  owner TEXT NOT NULL, key TEXT NOT NULL, task_id TEXT NOT NULL, fingerprint TEXT NOT NULL, expires REAL NOT NULL,
  PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS interactions (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, line TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, hits INTEGER NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
"""
