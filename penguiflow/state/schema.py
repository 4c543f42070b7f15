"""The database's tables, and how an older database becomes one of this version."""

from __future__ import annotations

import sqlite3

from penguiflow.state.errors import StoreTooNew, StoreUnreadable

__all__ = ["APPLICATION_ID", "VERSION", "check", "is_missing_table", "migrate"]

APPLICATION_ID = 0x50464C57
"""`PFLW`: tells that an SQLite file is one of ours."""

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE writers (
            id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: traces name their writer
            pid INTEGER NOT NULL,
            started TEXT NOT NULL,    -- when the process started: pids are used again
            host TEXT NOT NULL,
            opened REAL NOT NULL,
            seen REAL NOT NULL,       -- last sign of life
            closed REAL
        )
        """,
        """
        CREATE TABLE traces (
            id INTEGER PRIMARY KEY,
            trace_id TEXT NOT NULL UNIQUE,
            writer INTEGER NOT NULL,
            flow TEXT,
            target TEXT,
            status TEXT NOT NULL,
            started REAL NOT NULL,
            updated REAL NOT NULL,    -- ts of the last event
            ended REAL,
            duration_s REAL,
            version TEXT,
            session TEXT,
            epoch INTEGER NOT NULL,
            events INTEGER NOT NULL,  -- also the seq of the next event
            error TEXT,
            input TEXT,
            output TEXT,
            llm_calls INTEGER NOT NULL DEFAULT 0,
            tokens INTEGER NOT NULL DEFAULT 0,
            cost REAL,
            origin TEXT               -- JSON
        )
        """,
        "CREATE INDEX traces_started ON traces (started, id)",
        "CREATE INDEX traces_session ON traces (session, started) WHERE session IS NOT NULL",
        "CREATE INDEX traces_running ON traces (writer) WHERE status = 'running'",
        # A rowid table with an index, not WITHOUT ROWID: chunks are appended and stay within their page.
        """
        CREATE TABLE event_chunks (
            id INTEGER PRIMARY KEY,
            trace INTEGER NOT NULL,
            first_seq INTEGER NOT NULL,
            last_seq INTEGER NOT NULL,
            data BLOB NOT NULL        -- events first_seq to last_seq: see chunks.py
        )
        """,
        "CREATE UNIQUE INDEX event_chunks_seq ON event_chunks (trace, last_seq)",
        """
        CREATE TABLE flow_events (
            id INTEGER PRIMARY KEY,
            trace_id TEXT NOT NULL,
            ts REAL NOT NULL,
            kind TEXT NOT NULL,
            node_name TEXT,
            node_id TEXT,
            payload BLOB NOT NULL,    -- JSON
            fingerprint BLOB NOT NULL UNIQUE
        )
        """,
        "CREATE INDEX flow_events_trace ON flow_events (trace_id, ts, id)",
        """
        CREATE TABLE remote_bindings (
            trace_id TEXT NOT NULL,
            context_id TEXT NOT NULL,  -- empty for none
            task_id TEXT NOT NULL,
            agent_url TEXT NOT NULL,
            router_session_id TEXT,
            remote_skill TEXT,
            tenant_id TEXT,
            user_id TEXT,
            last_remote_task_id TEXT,
            is_terminal INTEGER NOT NULL,
            metadata BLOB NOT NULL,    -- JSON
            PRIMARY KEY (trace_id, context_id, task_id)
        )
        """,
    ),
    # 2: what planners and sessions keep, artifacts, and the size of each trace. Chunks have a new form from here on;
    # the old one is still read.
    (
        "ALTER TABLE traces ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",  # of its chunks
        """
        UPDATE traces SET bytes =
            (SELECT coalesce(sum(length(data)), 0) FROM event_chunks WHERE event_chunks.trace = traces.id)
        """,
        "CREATE INDEX remote_bindings_session ON remote_bindings (router_session_id)",
        """
        CREATE TABLE planner_states (
            token TEXT PRIMARY KEY,
            expires REAL NOT NULL,
            payload BLOB NOT NULL
        )
        """,
        """
        CREATE TABLE memory_states (
            key TEXT PRIMARY KEY,
            updated REAL NOT NULL,
            state BLOB NOT NULL
        )
        """,
        """
        CREATE TABLE tasks (
            id INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL,
            task_id TEXT NOT NULL,
            saved REAL NOT NULL,
            state BLOB NOT NULL,
            UNIQUE (session_id, task_id)
        )
        """,
        # Updates and steering events alike: what a session said, in order, each item once.
        """
        CREATE TABLE session_log (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            session_id TEXT NOT NULL,
            key TEXT NOT NULL,
            task_id TEXT NOT NULL,
            saved REAL NOT NULL,
            item BLOB NOT NULL,
            UNIQUE (kind, session_id, key)
        )
        """,
        "CREATE INDEX session_log_order ON session_log (kind, session_id, id)",
        """
        CREATE TABLE trajectories (
            id INTEGER PRIMARY KEY,   -- of the last time it was saved
            session_id TEXT NOT NULL,
            trace_id TEXT NOT NULL,
            saved REAL NOT NULL,
            trajectory BLOB NOT NULL,
            UNIQUE (session_id, trace_id)
        )
        """,
        "CREATE INDEX trajectories_trace ON trajectories (trace_id)",
        """
        CREATE TABLE planner_events (
            id INTEGER PRIMARY KEY,
            trace_id TEXT NOT NULL,
            saved REAL NOT NULL,
            event BLOB NOT NULL
        )
        """,
        "CREATE INDEX planner_events_trace ON planner_events (trace_id, id)",
        """
        CREATE TABLE artifacts (
            id TEXT PRIMARY KEY,
            identity TEXT NOT NULL UNIQUE,  -- whose, which namespace, which content
            owner TEXT NOT NULL,            -- tenant, user and session as JSON
            trace_id TEXT,
            size INTEGER NOT NULL,
            stored REAL NOT NULL,
            used REAL NOT NULL,
            ref BLOB NOT NULL,              -- JSON
            data BLOB NOT NULL
        )
        """,
        "CREATE INDEX artifacts_owner ON artifacts (owner, trace_id)",
        "CREATE INDEX artifacts_stored ON artifacts (stored)",
    ),
    # 3: large payloads are kept beside the events, each once.
    (
        """
        CREATE TABLE payloads (
            id INTEGER PRIMARY KEY,
            hash BLOB NOT NULL UNIQUE,  -- sha256 of the data
            data BLOB NOT NULL          -- JSON
        )
        """,
        """
        CREATE TABLE trace_payloads (
            payload INTEGER NOT NULL,
            trace INTEGER NOT NULL,
            PRIMARY KEY (payload, trace)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX trace_payloads_trace ON trace_payloads (trace)",
    ),
    # 4: what streams made is kept shorter within its chunk, which earlier versions would take for damage.
    (),
    # 5: so is what went the shortest way through nodes.
    (),
    # 6: what workers of distributed flows share: see shared.py.
    (
        """
        CREATE TABLE shared_traces (
            trace_id TEXT PRIMARY KEY,
            changes INTEGER NOT NULL DEFAULT 0,  -- of rows: the last version that was given out
            counters BLOB NOT NULL,              -- JSON
            ended TEXT,                          -- its status
            ended_at REAL,                       -- null again when all else is forgotten
            cancelled TEXT                       -- why
        ) WITHOUT ROWID
        """,
        "CREATE INDEX shared_traces_ended ON shared_traces (ended_at) WHERE ended_at IS NOT NULL",
        """
        CREATE TABLE shared_rows (
            trace_id TEXT NOT NULL,
            scope TEXT NOT NULL,
            version INTEGER NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (trace_id, scope)
        )
        """,
        """
        CREATE TABLE shared_handled (
            trace_id TEXT NOT NULL,
            message TEXT NOT NULL,
            PRIMARY KEY (trace_id, message)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE workers (
            worker_id TEXT PRIMARY KEY,
            flow TEXT NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            nodes BLOB NOT NULL,                 -- JSON
            started_at REAL NOT NULL,
            state TEXT NOT NULL,
            about BLOB NOT NULL,                 -- JSON
            seen_at REAL NOT NULL
        )
        """,
    ),
)

VERSION = len(_MIGRATIONS)
"""Version of the database that this code reads and writes."""


def check(connection: sqlite3.Connection, path: str) -> int:
    """The version that the database has; 0 when nothing was written to it yet.

    Raises `StoreTooNew`, `StoreUnreadable` (another program's database) and whatever sqlite3 says of a broken file.
    """
    # One statement, one moment: another process may be making the tables right now.
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StoreTooNew(
                f"{path} was written by a newer penguiflow (version {version} of the database; this one knows "
                f"{VERSION}): upgrade penguiflow, or move the file aside",
                path=path,
                found=int(version),
                supported=VERSION,
            )
        return int(version)
    if application or version or tables:
        raise StoreUnreadable(
            f"{path} is the database of another program: move it aside, or let PENGUIFLOW_HOME name another folder",
            path=path,
        )
    return 0


def is_missing_table(error: sqlite3.OperationalError) -> bool:
    """Whether a statement failed because the database, of an earlier version, has no such table yet."""
    return str(error).startswith("no such table: ")


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the database to this version. Several processes may do so at once."""
    if check(connection, path) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Whoever came first has done it by now.
        for script in _MIGRATIONS[check(connection, path) :]:
            for statement in script:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
