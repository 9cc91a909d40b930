-- create: new runs; a number or id that is taken is an error
INSERT INTO runs (number, id, definition, namespace, name, version, status, started, updated, ended,
                  wake_at, parent, parent_command, origin, origin_entries, outcome)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)...

-- append: entries; a (run, seq) that is taken is an error
INSERT INTO journal (run, seq, entry) VALUES (?, ?, ?)...

-- append_large: entries whose bytes stand in blobs
INSERT INTO journal (run, seq, blob) VALUES (?, ?, ?)...

-- store_blob: large values; equal bytes are stored once
INSERT INTO blobs (digest, data) VALUES (?, ?)... ON CONFLICT (digest) DO NOTHING

-- change: new values of rows, each run at most once; ended and outcome stay where none is given
UPDATE runs
SET status = new.column2, updated = new.column3, wake_at = new.column4,
    ended = coalesce(new.column5, ended), outcome = coalesce(new.column6, outcome)
FROM (VALUES (?, ?, ?, ?, ?, ?)...) AS new
WHERE number = new.column1

-- snapshot: the newest state of runs, in place of the former
INSERT INTO snapshots (run, seq, state, blob) VALUES (?, ?, ?, ?)...
ON CONFLICT (run) DO UPDATE SET seq = excluded.seq, state = excluded.state, blob = excluded.blob

-- last_number: the highest run number, 0 if there is none
SELECT coalesce(max(number), 0) FROM runs

-- run: one row by id
SELECT number, id, definition, namespace, name, version, status, started, updated, ended,
       wake_at, parent, parent_command, origin, origin_entries, outcome
FROM runs WHERE id = :id

-- runs: newest first
SELECT number, id, definition, namespace, name, version, status, started, updated, ended,
       wake_at, parent, parent_command, origin, origin_entries, outcome
FROM runs WHERE number < :before ORDER BY number DESC LIMIT :limit

-- runs_with_status: newest first, of some statuses (a JSON list); one short index walk for each status
SELECT number, id, definition, namespace, name, version, status, started, updated, ended,
       wake_at, parent, parent_command, origin, origin_entries, outcome
FROM (SELECT value AS wanted FROM json_each(:statuses))
JOIN runs ON number IN (
    SELECT number FROM runs WHERE status = wanted AND number < :before
    ORDER BY number DESC LIMIT :limit
)
ORDER BY number DESC LIMIT :limit

-- runs_of_parent: newest first, of one parent and some statuses (a JSON list, empty for all)
SELECT number, id, definition, namespace, name, version, status, started, updated, ended,
       wake_at, parent, parent_command, origin, origin_entries, outcome
FROM runs
WHERE parent = :parent AND number < :before
  AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
ORDER BY number DESC LIMIT :limit

-- open_runs: in order of number, of some statuses (a JSON list)
SELECT number, id, definition, namespace, name, version, status, started, updated, ended,
       wake_at, parent, parent_command, origin, origin_entries, outcome
FROM (SELECT value AS wanted FROM json_each(:statuses))
JOIN runs ON number IN (
    SELECT number FROM runs WHERE status = wanted AND number > :after
    ORDER BY number LIMIT :limit
)
ORDER BY number LIMIT :limit

-- snapshots_of: the newest state of some runs (a JSON list of numbers), packed
-- Packed: `run seq hex` with commas between, about a mebibyte in each row that is returned. Each
-- row costs the reader's thread a turn at the interpreter lock, 5 ms while the event loop is busy.
SELECT group_concat(run || ' ' || seq || ' ' || hex(state)) FROM (
    SELECT run, seq, state, sum(length(state)) OVER (ROWS UNBOUNDED PRECEDING) / 1048576 AS part FROM (
        SELECT run, seq, coalesce(state, (SELECT data FROM blobs WHERE digest = snapshots.blob)) AS state
        FROM snapshots WHERE run IN (SELECT value FROM json_each(:runs))
    )
) GROUP BY part

-- entries_of: so many entries of some runs past a seq each (a JSON object, number to seq), packed
SELECT group_concat(run || ' ' || seq || ' ' || hex(entry)) FROM (
    SELECT run, seq, entry, sum(length(entry)) OVER (ROWS UNBOUNDED PRECEDING) / 1048576 AS part FROM (
        SELECT run, seq, coalesce(entry, (SELECT data FROM blobs WHERE digest = journal.blob)) AS entry
        FROM json_each(:after) AS wanted
        JOIN journal ON run = CAST(wanted.key AS INTEGER) AND seq > wanted.value AND seq <= wanted.value + :most
    )
) GROUP BY part

-- size: how many entries `lines` would give, and how many bytes; where they stand elsewhere, these are read
SELECT count(*), total(coalesce(length(entry), (SELECT length(data) FROM blobs WHERE digest = journal.blob)))
FROM journal WHERE run = :run AND seq > :after AND seq <= :after + :limit

-- lines: entries of one run past a seq, in order, one in each line: JSON has no line breaks of its own
SELECT CAST(group_concat(CAST(entry AS TEXT), char(10)) AS BLOB) FROM (
    SELECT coalesce(entry, (SELECT data FROM blobs WHERE digest = journal.blob)) AS entry
    FROM journal WHERE run = :run AND seq > :after ORDER BY seq LIMIT :limit
)

-- history: entries of one run past a seq, packed
SELECT group_concat(run || ' ' || seq || ' ' || hex(entry)) FROM (
    SELECT run, seq, entry, sum(length(entry)) OVER (ROWS UNBOUNDED PRECEDING) / 1048576 AS part FROM (
        SELECT run, seq, coalesce(entry, (SELECT data FROM blobs WHERE digest = journal.blob)) AS entry
        FROM journal WHERE run = :run AND seq > :after ORDER BY seq LIMIT :limit
    )
) GROUP BY part
