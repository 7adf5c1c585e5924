"""The tables of `state.db`, version by version.

Each entry of MIGRATIONS leads from the version that is its index to the next one; a new file goes through all
of them, so that what an old file becomes and what a new one is cannot differ. An entry is never changed once
it was released: what is to be different is another entry.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        config TEXT NOT NULL,
        request TEXT NOT NULL,
        environment TEXT NOT NULL,
        created REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'starting', 'running', 'stopping', 'ended')),
        gpus TEXT NOT NULL DEFAULT '[]',
        boot TEXT,
        since REAL,
        pid INTEGER,
        started REAL,
        stop_asked REAL,
        ending TEXT,
        ended REAL,
        reason TEXT NOT NULL DEFAULT '',
        exit_status INTEGER,
        signal INTEGER,
        peak_memory INTEGER,
        task_count INTEGER,
        log TEXT NOT NULL DEFAULT '',
        events TEXT NOT NULL DEFAULT ''
    );
    CREATE UNIQUE INDEX one_active_job_a_config ON jobs (config) WHERE state != 'ended';
    CREATE TABLE gpu_claims (
        uuid TEXT PRIMARY KEY,
        job INTEGER NOT NULL REFERENCES jobs (id)
    );
    """,
    """
    CREATE TABLE environments (
        id INTEGER PRIMARY KEY,
        value TEXT NOT NULL UNIQUE
    );
    INSERT INTO environments (value) SELECT DISTINCT environment FROM jobs;
    ALTER TABLE jobs RENAME TO jobs_before;
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        config TEXT NOT NULL,
        request TEXT NOT NULL,
        environment INTEGER NOT NULL REFERENCES environments (id),
        created REAL NOT NULL,
        schedule TEXT NOT NULL DEFAULT '{}',
        place REAL NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 1,
        replaces INTEGER,
        successor INTEGER,
        state TEXT NOT NULL CHECK (state IN ('queued', 'starting', 'running', 'stopping', 'ended')),
        gpus TEXT NOT NULL DEFAULT '[]',
        boot TEXT,
        since REAL,
        pid INTEGER,
        started REAL,
        stop_asked REAL,
        stop_aim TEXT NOT NULL DEFAULT 'end',
        stop_reason TEXT NOT NULL DEFAULT '',
        stalled REAL,
        ending TEXT,
        ended REAL,
        reason TEXT NOT NULL DEFAULT '',
        exit_status INTEGER,
        signal INTEGER,
        peak_memory INTEGER,
        task_count INTEGER,
        log TEXT NOT NULL DEFAULT '',
        events TEXT NOT NULL DEFAULT ''
    );
    INSERT INTO jobs (id, config, request, environment, created, place, state, gpus, boot, since, pid, started,
        stop_asked, ending, ended, reason, exit_status, signal, peak_memory, task_count, log, events)
    SELECT jobs_before.id, config, request, environments.id, created, jobs_before.id, state, gpus, boot, since,
        pid, started, stop_asked, ending, ended, reason, exit_status, signal, peak_memory, task_count, log, events
    FROM jobs_before JOIN environments ON environments.value = jobs_before.environment;
    CREATE TABLE gpu_claims_now (
        uuid TEXT NOT NULL,
        job INTEGER NOT NULL REFERENCES jobs (id),
        memory INTEGER NOT NULL DEFAULT 0,
        shared INTEGER NOT NULL DEFAULT 0 CHECK (shared IN (0, 1)),
        PRIMARY KEY (uuid, job)
    );
    INSERT INTO gpu_claims_now (uuid, job) SELECT uuid, job FROM gpu_claims;
    DROP TABLE gpu_claims;
    DROP TABLE jobs_before;
    ALTER TABLE gpu_claims_now RENAME TO gpu_claims;
    CREATE UNIQUE INDEX one_job_a_gpu_that_does_not_share ON gpu_claims (uuid) WHERE NOT shared;
    CREATE TRIGGER only_those_share_that_all_do BEFORE INSERT ON gpu_claims
    WHEN EXISTS (SELECT 1 FROM gpu_claims WHERE uuid = NEW.uuid AND NOT (shared AND NEW.shared))
    BEGIN
        SELECT RAISE(ABORT, 'another job holds the GPU');
    END;
    CREATE TRIGGER a_claim_stays_as_it_is BEFORE UPDATE ON gpu_claims
    BEGIN
        SELECT RAISE(ABORT, 'a claim is never changed');
    END;
    CREATE TABLE config_claims (
        config TEXT PRIMARY KEY,
        job INTEGER NOT NULL REFERENCES jobs (id)
    );
    INSERT INTO config_claims SELECT config, id FROM jobs WHERE state NOT IN ('queued', 'ended');
    CREATE INDEX active_jobs ON jobs (config) WHERE state != 'ended';
    CREATE TABLE job_groups (
        name TEXT PRIMARY KEY,
        job_limit INTEGER,
        paused TEXT NOT NULL DEFAULT ''
    );
    CREATE TABLE queue (
        paused TEXT NOT NULL
    );
    INSERT INTO queue VALUES ('');
    CREATE TABLE quick_deaths (
        job INTEGER PRIMARY KEY,
        job_group TEXT NOT NULL
    );
    CREATE TABLE job_records (
        job INTEGER PRIMARY KEY REFERENCES jobs (id),
        complete INTEGER NOT NULL,
        value TEXT NOT NULL
    );
    CREATE TABLE gpu_history (
        seconds INTEGER NOT NULL,
        start INTEGER NOT NULL,
        uuid TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (seconds, start, uuid)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE config_claims_now (
        config TEXT NOT NULL,
        split INTEGER NOT NULL DEFAULT 0,
        shard INTEGER NOT NULL DEFAULT 0,
        job INTEGER NOT NULL REFERENCES jobs (id),
        PRIMARY KEY (config, shard)
    );
    INSERT INTO config_claims_now (config, job) SELECT config, job FROM config_claims;
    DROP TABLE config_claims;
    ALTER TABLE config_claims_now RENAME TO config_claims;
    CREATE TRIGGER one_job_a_config_or_shards_of_one_split BEFORE INSERT ON config_claims
    WHEN EXISTS (SELECT 1 FROM config_claims WHERE config = NEW.config AND (split = 0 OR split != NEW.split))
    BEGIN
        SELECT RAISE(ABORT, 'another job is on the config');
    END;
    CREATE TRIGGER a_config_claim_stays_as_it_is BEFORE UPDATE ON config_claims
    BEGIN
        SELECT RAISE(ABORT, 'a claim is never changed');
    END;
    """,
)
VERSION = len(MIGRATIONS)
HISTORY_SINCE = 2
"""The first version with the tables of the history."""


def version_of(database: sqlite3.Connection) -> int:
    """0 for an empty file."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def migrate(database: sqlite3.Connection) -> None:
    """Brings the tables up to VERSION, a version at a time; each is there whole or not at all."""
    for version in range(version_of(database), VERSION):
        # Otherwise a renamed table takes the references of others with it.
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("PRAGMA legacy_alter_table = ON")
        try:
            database.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
            )
        except sqlite3.Error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        finally:
            database.execute("PRAGMA legacy_alter_table = OFF")


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is changed within it, or nothing; on disk as far as the connection asks for that."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        # On a full disk SQLite has rolled back by itself; or it has not, and the next one could not begin.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
