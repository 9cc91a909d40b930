-- The first schema: runs, their journals, snapshots of folded state, documents.

PRAGMA application_id = 0x54454E55;

CREATE TABLE runs (
    number         INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    definition     TEXT NOT NULL,
    namespace      TEXT NOT NULL,
    name           TEXT NOT NULL,
    version        TEXT NOT NULL,
    status         TEXT NOT NULL,
    started        REAL NOT NULL,
    updated        REAL NOT NULL,
    ended          REAL,
    wake_at        REAL,
    parent         TEXT,
    parent_command INTEGER,
    origin         TEXT,
    origin_entries INTEGER,
    outcome        BLOB
) STRICT;

-- Both lists of runs by status (newest first) and all runs that are not over.
CREATE INDEX runs_by_status ON runs (status, number);

CREATE INDEX runs_by_parent ON runs (parent, number) WHERE parent IS NOT NULL;

-- Entries stand in the order in which they were committed, so that a transaction of many runs
-- fills whole pages; the narrow index finds a run's own. Measured: docs/decisions/0003.
-- `entry` is NULL where the bytes stand in `blobs`.
CREATE TABLE journal (
    id    INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    entry BLOB,
    blob  BLOB
) STRICT;

CREATE UNIQUE INDEX journal_by_run ON journal (run, seq);

CREATE INDEX journal_by_blob ON journal (blob) WHERE blob IS NOT NULL;

CREATE TABLE snapshots (
    run   INTEGER PRIMARY KEY,
    seq   INTEGER NOT NULL,
    state BLOB,
    blob  BLOB
) STRICT;

CREATE INDEX snapshots_by_blob ON snapshots (blob) WHERE blob IS NOT NULL;

-- Large values, known by the SHA-256 of their bytes.
CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,
    data   BLOB NOT NULL
) STRICT;

-- A replaced snapshot takes its large state with it, unless something else has the same bytes.
CREATE TRIGGER snapshots_replaced AFTER UPDATE OF blob ON snapshots
WHEN old.blob IS NOT NULL AND old.blob IS NOT new.blob
BEGIN
    DELETE FROM blobs
    WHERE digest = old.blob
      AND NOT EXISTS (SELECT 1 FROM journal WHERE blob = old.blob)
      AND NOT EXISTS (SELECT 1 FROM snapshots WHERE blob = old.blob);
END;

CREATE TABLE documents (
    id        INTEGER PRIMARY KEY,
    digest    TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    version   TEXT NOT NULL,
    source    TEXT NOT NULL,
    origin    TEXT
) STRICT;

CREATE INDEX documents_by_name ON documents (namespace, name, version);
