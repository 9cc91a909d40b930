"""What holds for the SQLite file: settings that were read back, one holder, readers beside it, bounds."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import sqlite3
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tenuto.engine.ports import Append, Batch, DocumentRow, RunRow, Snapshot
from tenuto.errors import Conflict, DatabaseHeld, NotFound, StorageFailed
from tenuto.storage import journal as journal_module
from tenuto.storage import sqlite as sqlite_module
from tenuto.storage.journal import INLINE_BYTES_MAX, DatabaseJournal
from tenuto.storage.queries import Query, read_queries
from tenuto.storage.schema import known_migrations, migrate, statements
from tenuto.storage.sqlite import check_build, check_settings, open_journal, open_reader
from tests.storage.test_faults import child


async def fresh(path: Path) -> DatabaseJournal:
    """A journal whose failure fails the test."""

    def failed(error: BaseException) -> None:
        raise AssertionError from error

    return await open_journal(path, failed=failed, command="pytest")


async def commit(journal: DatabaseJournal, batch: Batch) -> None:
    """Commit one batch and wait until it is durable."""
    journal.commit(batch, lambda: None)
    await journal.flush()


def ask(path: Path, sql: str) -> object:
    """One value, by a connection of its own."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchone()[0]
    finally:
        connection.close()


def size(path: Path | str) -> int:
    """Bytes of a file."""
    return os.stat(path).st_size


# ── settings ─────────────────────────────────────────────────────────────────────────────


async def test_the_writer_syncs_each_commit(tmp_path: Path) -> None:
    """Write-ahead log and FULL, as SQLite itself says."""
    journal = await fresh(tmp_path / "journal.db")
    connection = journal._writing._connection  # type: ignore[attr-defined]
    said = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    await journal.close()

    assert said == {"journal_mode": "wal", "synchronous": 2}


@pytest.mark.parametrize(
    ("weakened", "named"),
    [
        ("PRAGMA synchronous = NORMAL", "synchronous"),
        ("PRAGMA synchronous = OFF", "synchronous"),
        ("PRAGMA journal_mode = DELETE", "journal_mode"),
        ("PRAGMA fullfsync = 0", "fullfsync"),
    ],
)
def test_weaker_settings_are_refused(tmp_path: Path, weakened: str, named: str) -> None:
    """Each setting counts; with all of them as they must be there is nothing to say."""
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = 1"):
        connection.execute(f"PRAGMA {pragma}")
    check_settings(connection, tmp_path)
    connection.execute(weakened)
    with pytest.raises(StorageFailed, match=named) as refused:
        check_settings(connection, tmp_path)
    connection.close()

    assert refused.value.hint is not None


async def test_a_place_without_write_ahead_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite without shared memory, as on some network file systems, keeps its old journal."""

    def without_shared_memory(path: Path, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{path}?mode={mode}&vfs=unix-none", uri=True, isolation_level=None)

    monkeypatch.setattr(sqlite_module, "_connect", without_shared_memory)
    with pytest.raises(StorageFailed, match="journal_mode is 'delete'") as refused:
        await fresh(tmp_path / "journal.db")
    monkeypatch.undo()
    journal = await fresh(tmp_path / "journal.db")
    await journal.close()

    assert "local disk" in (refused.value.hint or "")


def test_a_library_that_cannot_sync_is_refused() -> None:
    """By its build options or its age; this one is fine."""
    connection = sqlite3.connect(":memory:")
    options = [option for (option,) in connection.execute("PRAGMA compile_options")]
    connection.close()
    check_build(options, sqlite3.sqlite_version_info)
    with pytest.raises(StorageFailed, match="NO_SYNC"):
        check_build([*options, "NO_SYNC"], sqlite3.sqlite_version_info)
    with pytest.raises(StorageFailed, match="too old"):
        check_build(options, (3, 8, 0))


async def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    """A folder that has to be made as well."""
    path = tmp_path / "made" / "journal.db"
    journal = await fresh(path)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in [path.parent, *path.parent.iterdir()]}
    await journal.close()

    names = ["journal.db", "journal.db-shm", "journal.db-wal", "journal.db.lock"]
    assert modes == {"made": 0o700, **dict.fromkeys(names, 0o600)}


async def test_a_new_database_is_durable_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are its folders, also where a file is said to be on another device than its folder, as by an overlay."""
    path = tmp_path / "made" / "by us" / "journal.db"
    synced: set[str] = set()
    fsync, really = os.fsync, os.stat

    def heard(descriptor: int) -> None:
        synced.add(os.path.realpath(f"/dev/fd/{descriptor}"))
        fsync(descriptor)

    def overlaid(file: Any, **given: Any) -> os.stat_result:
        there = really(file, **given)
        return os.stat_result((*there[:2], there.st_dev + 1, *there[3:])) if file == path else there

    monkeypatch.setattr(os, "fsync", heard)
    monkeypatch.setattr(os, "stat", overlaid)
    await (await fresh(path)).close()

    assert {str(folder) for folder in (path.parent, path.parent.parent, tmp_path)} <= synced


@pytest.mark.parametrize("refusal", [None, errno.ENOTSUP])
async def test_a_system_like_macos_is_asked_to_empty_the_disks_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None
) -> None:
    """It has no `fdatasync`, and its `fsync` stops short of the disk; where the file system cannot, that has to do."""
    asked: list[str] = []
    fsync = os.fsync

    def flush(descriptor: int, command: int) -> None:
        assert command == 51
        asked.append("flush")
        if refusal:
            raise OSError(refusal, "not supported")

    def heard(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            asked.append("fsync")
        fsync(descriptor)

    monkeypatch.delattr(os, "fdatasync")
    monkeypatch.setattr(os, "fsync", heard)
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", flush)
    journal = await fresh(tmp_path / "journal.db")
    await commit(journal, Batch([Append(1, 1, b"a")]))
    await journal.close()

    assert asked == (["flush", "fsync"] if refusal else ["flush"])


# ── one holder ───────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_second_process_is_told_who_holds_the_database(tmp_path: Path) -> None:
    """Its number, what it runs, since when, and what to do; after its death the way is free."""
    path = tmp_path / "journal.db"
    with child("hold", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        with pytest.raises(DatabaseHeld) as refused:
            await fresh(path)
        holder = json.loads((tmp_path / "journal.db.lock").read_text())
    journal = await fresh(path)
    await journal.close()

    assert (
        f"in use by process {process.pid} (tenuto up) on {os.uname().nodename}, since 2"
        in refused.value.message
    )
    assert "--db" in (refused.value.hint or "")
    assert {"pid": process.pid, "command": "tenuto up"}.items() <= holder.items()


async def test_one_process_cannot_open_it_twice_either(tmp_path: Path) -> None:
    """Also under another name; closing frees it and leaves no holder's name behind."""
    path = tmp_path / "journal.db"
    (tmp_path / "link.db").symlink_to(path)
    journal = await fresh(path)
    with pytest.raises(DatabaseHeld, match=f"process {os.getpid()} "):
        await fresh(tmp_path / "link.db")
    await journal.close()
    text = (tmp_path / "journal.db.lock").read_text()
    await (await fresh(path)).close()

    assert text == ""


async def test_a_holder_without_a_name_still_holds(tmp_path: Path) -> None:
    """Between taking the lock and writing who took it."""
    journal = await fresh(tmp_path / "journal.db")
    os.truncate(tmp_path / "journal.db.lock", 0)
    with pytest.raises(DatabaseHeld, match="in use by another process"):
        await fresh(tmp_path / "journal.db")
    await journal.close()


def open_files() -> set[str]:
    """Return what this process has open, by its paths."""
    return {os.path.realpath(f"/dev/fd/{number}") for number in os.listdir("/dev/fd")}


async def test_a_failed_opening_frees_the_lock(tmp_path: Path) -> None:
    """So that the next try meets the real cause again; no file is left open."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(Conflict, match="is not a database") as refused:
            await fresh(path)

        assert not isinstance(refused.value, DatabaseHeld)
        assert str(path) not in open_files()


# ── readers ──────────────────────────────────────────────────────────────────────────────


async def test_a_reader_sees_what_is_durable_beside_the_holder(tmp_path: Path) -> None:
    """While another has it open, and when nobody has."""
    path = tmp_path / "journal.db"
    journal = await fresh(path)
    reader = await open_reader(path)
    await commit(journal, Batch([Append(1, 1, b"a")]))
    beside = await reader.load(1)
    await journal.close()
    await reader.close()
    reader = await open_reader(path)
    alone = await reader.load(1)
    await reader.close()

    assert beside == alone == (None, [b"a"])


async def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    """It says that there is none."""
    with pytest.raises(NotFound, match="no database"):
        await open_reader(tmp_path / "journal.db")

    assert os.listdir(tmp_path) == []


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """Not even by mistake in a statement."""
    path = tmp_path / "journal.db"
    await (await fresh(path)).close()
    reader = await open_reader(path)
    with pytest.raises(StorageFailed, match="readonly"):
        await reader._fetch(Query("wrong", "DELETE FROM runs RETURNING 1", 0))
    await reader.close()


# ── schema and statements ────────────────────────────────────────────────────────────────


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """Byte for byte, for writing and for reading."""
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = path.read_bytes()
    for opening in (fresh, open_reader):
        with pytest.raises(Conflict, match="another program"):
            await opening(path)

    assert path.read_bytes() == before


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """With both versions named; one of an older version is refused to readers only."""
    path = tmp_path / "journal.db"
    await (await fresh(path)).close()
    newest = max(known_migrations())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("INSERT INTO migrations (number, name) VALUES (9999, '9999_future')")
    for opening in (fresh, open_reader):
        with pytest.raises(Conflict, match=f"newer version .*9999, known here: {newest}"):
            await opening(path)
    connection.execute("DELETE FROM migrations")
    with pytest.raises(Conflict, match="has schema 0"):
        await open_reader(path)
    connection.close()


def test_a_fresh_schema_is_all_migrations_applied(tmp_path: Path) -> None:
    """Each file once, in order, recorded; doing it again changes nothing; numbers have no gaps."""
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    migrate(connection, tmp_path)
    recorded = connection.execute("SELECT number, name FROM migrations ORDER BY number").fetchall()
    schema = connection.execute("SELECT * FROM sqlite_schema").fetchall()
    migrate(connection, tmp_path)
    again = connection.execute("SELECT * FROM sqlite_schema").fetchall()
    connection.close()

    assert recorded == [(number, file.stem) for number, file in known_migrations().items()]
    assert list(known_migrations()) == list(range(1, len(recorded) + 1))
    assert again == schema


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its tables nor its record."""
    broken = tmp_path / "0001_broken.sql"
    broken.write_text("CREATE TABLE a (b);\nCREATE TABLE a (b);\n")
    monkeypatch.setattr("tenuto.storage.schema.known_migrations", lambda: {1: broken})
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    with pytest.raises(StorageFailed, match="0001_broken failed: table a already exists"):
        migrate(connection, tmp_path)
    objects = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    connection.close()

    assert objects == (0,)


def test_a_trigger_is_one_statement() -> None:
    """Semicolons inside of it do not end it."""
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; DELETE FROM b; END;"

    assert statements(f"-- first; of all\nCREATE TABLE a (b);\n{trigger}\n") == [
        "-- first; of all\nCREATE TABLE a (b);",
        trigger,
    ]


@pytest.mark.parametrize("topic", ["journal", "documents"])
def test_every_statement_prepares(tmp_path: Path, topic: str) -> None:
    """On the real schema, for one row and for many, with the values that it names."""
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    migrate(connection, tmp_path)
    for query in read_queries(topic).values():
        names = ("before", "limit", "statuses", "parent", "id", "after", "run", "runs", "most")
        names += ("digest", "namespace", "name", "version")
        values = dict.fromkeys(names, None) if query.width == 0 else [None] * query.width * 3
        connection.execute(f"EXPLAIN {query.times(3)}", values)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        connection.execute("EXPLAIN SELECT * FROM wrong")
    connection.close()


@pytest.mark.parametrize(
    "name",
    [
        "run",
        "runs",
        "runs_with_status",
        "runs_of_parent",
        "open_runs",
        "entries_of",
        "history",
        "size",
        "lines",
    ],
)
def test_no_list_reads_a_whole_table(tmp_path: Path, name: str) -> None:
    """Each way in has its index: the plan searches, or walks the rows in the order that is asked for."""
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    migrate(connection, tmp_path)
    values = dict.fromkeys(("before", "limit", "statuses", "parent", "id", "after", "run", "most"), "{}")
    plan = connection.execute(f"EXPLAIN QUERY PLAN {read_queries('journal')[name].sql}", values).fetchall()
    connection.close()
    steps = [step for _, _, _, step in plan]

    assert any(step.startswith(("SEARCH runs", "SEARCH journal")) for step in steps)
    assert [step for step in steps if step.startswith(("SCAN runs", "SCAN journal"))] == []


def test_the_rows_of_a_run_have_the_columns_of_the_table(tmp_path: Path) -> None:
    """In the same order, so that values cannot end up in the wrong column."""
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    migrate(connection, tmp_path)
    columns = {
        table: tuple(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
        for table in ("runs", "documents")
    }
    connection.close()

    assert columns["runs"] == RunRow.__struct_fields__
    assert columns["documents"] == ("id", *DocumentRow.__struct_fields__)


# ── bounds ───────────────────────────────────────────────────────────────────────────────


async def test_pressure_rises_with_what_waits_and_falls_when_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the bound only; `drained` returns when it is over."""
    monkeypatch.setattr(journal_module, "QUEUE_BYTES_MAX", 10_000)
    journal = await fresh(tmp_path / "journal.db")
    journal.commit(Batch([Append(1, 1, bytes(9_000))]), lambda: None)
    below = journal.pressure
    journal.commit(Batch(snapshots=[Snapshot(1, 1, bytes(2_000))]), lambda: None)
    above = journal.pressure
    await journal.drained()
    after = journal.pressure
    await journal.close()

    assert (below, above, after) == (False, True, False)


async def test_many_small_batches_are_pressure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch counts even if it is empty, so their number is bounded."""
    monkeypatch.setattr(journal_module, "QUEUE_BYTES_MAX", 100 * journal_module.BATCH_OVERHEAD_BYTES)
    journal = await fresh(tmp_path / "journal.db")
    seen = []
    for _ in range(101):
        journal.commit(Batch(), lambda: None)
        seen.append(journal.pressure)
    await journal.close()

    assert seen == [False] * 100 + [True]


@pytest.mark.slow
async def test_the_log_stays_bounded_under_constant_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that come and go all the time do not keep it from starting over for ever."""
    monkeypatch.setattr(sqlite_module, "CHECKPOINT_PAGES", 100)
    monkeypatch.setattr(sqlite_module, "LOG_BYTES_MAX", 800_000)
    path = tmp_path / "journal.db"
    journal = await fresh(path)
    done = False

    async def read() -> int:
        times = 0
        while not done:
            await journal.history(1)
            times += 1
        return times

    reading = asyncio.create_task(read())
    longest = 0
    for seq in range(1, 1000):
        await commit(journal, Batch([Append(1, seq, bytes(2000))]))
        longest = max(longest, size(f"{path}-wal"))
    done = True
    times = await reading
    await journal.close()

    assert times > 20
    assert size(path) > 2_000_000
    assert longest < 1_000_000


@pytest.mark.slow
async def test_a_reader_that_never_lets_go_does_not_stop_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log grows meanwhile, and no more when the reader is gone."""
    monkeypatch.setattr(sqlite_module, "CHECKPOINT_PAGES", 100)
    monkeypatch.setattr(sqlite_module, "LOG_BYTES_MAX", 800_000)
    monkeypatch.setattr(sqlite_module, "READERS_WAIT_MS", 1)
    path = tmp_path / "journal.db"
    journal = await fresh(path)
    stuck = sqlite3.connect(path, isolation_level=None)
    stuck.execute("BEGIN")
    stuck.execute("SELECT count(*) FROM journal").fetchone()
    for seq in range(1, 400):
        await commit(journal, Batch([Append(1, seq, bytes(2000))]))
    grown = size(f"{path}-wal")
    stuck.close()
    for seq in range(400, 800):
        await commit(journal, Batch([Append(1, seq, bytes(2000))]))
    later = size(f"{path}-wal")
    _, entries = await journal.load(1)
    await journal.close()

    assert len(entries) == 799
    assert grown > 2_000_000
    assert later < grown + 100_000


async def test_closing_leaves_one_file(tmp_path: Path) -> None:
    """The log is emptied into the database and goes; the lock's file stays, without a holder."""
    journal = await fresh(tmp_path / "journal.db")
    await commit(journal, Batch([Append(1, 1, b"a")]))
    await journal.close()

    assert sorted(os.listdir(tmp_path)) == ["journal.db", "journal.db.lock"]
    assert ask(tmp_path / "journal.db", "SELECT entry FROM journal") == b"a"


async def test_a_run_of_any_size_is_read_in_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together its entries are longer than any value that SQLite makes: such a run must not end the store."""
    monkeypatch.setattr("tenuto.storage.journal.LINES_BYTES_MAX", 10_000)
    journal = await fresh(tmp_path / "journal.db")
    journal._reading._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)  # type: ignore[attr-defined]
    entries = [b'"%d %s"' % (n, b"x" * (n % 1000)) for n in range(1, 301)]
    entries[100] = b'"' + b"y" * 20_000 + b'"'  # longer than a part, and alone in one
    entries[299] = b'""'
    await commit(journal, Batch([Append(1, seq, entry) for seq, entry in enumerate(entries, 1)]))
    read = [await journal.lines(1, after=after, limit=200) for after in (0, 200, 299, 300)]
    await journal.close()

    assert read == [b"\n".join(part) for part in (entries[:200], entries[200:], entries[299:], [])]


async def test_large_values_are_stored_once_and_go_when_unused(tmp_path: Path) -> None:
    """By the digest of their bytes; a replaced snapshot's state does not stay behind."""
    path = tmp_path / "journal.db"
    journal = await fresh(path)
    entry, state = bytes(INLINE_BYTES_MAX + 1), b"s" * (INLINE_BYTES_MAX + 1)
    await commit(
        journal, Batch([Append(1, 1, entry), Append(2, 1, entry)], snapshots=[Snapshot(1, 1, state)])
    )
    both = ask(path, "SELECT count(*) FROM blobs")
    await commit(journal, Batch(snapshots=[Snapshot(1, 1, state + b"2")]))
    replaced = ask(path, "SELECT count(*) FROM blobs")
    await commit(journal, Batch(snapshots=[Snapshot(1, 1, b"")]))
    left = ask(path, "SELECT count(*) FROM blobs")
    await journal.close()

    assert (both, replaced, left) == (2, 2, 1)


@pytest.mark.parametrize("quick_seconds", [0.0, 60.0])
async def test_a_lone_batch_is_durable_wherever_it_is_written(
    tmp_path: Path, quick_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the writer or by the loop: each `done` comes after the row is there for other connections, in order."""
    monkeypatch.setattr("tenuto.storage.journal.QUICK_SECONDS", quick_seconds)
    seen: list[Any] = []
    path = tmp_path / "a.db"
    journal = await open_journal(path, failed=seen.append)

    def done(seq: int) -> None:
        seen.append((seq, ask(path, "SELECT max(seq) FROM journal WHERE run = 1")))

    seq = 0
    for size in (1, 1, 3, 1, 20, 1, 1):
        for _ in range(size):
            seq += 1
            journal.commit(Batch([Append(1, seq, b"entry")]), partial(done, seq))
        await journal.flush()
    await journal.close()

    assert [one for one, _ in seen] == list(range(1, seq + 1))
    assert all(int(str(there)) >= one for one, there in seen)


@pytest.mark.parametrize("quick_seconds", [0.0, 60.0])
async def test_a_lone_batch_that_fails_ends_the_journal(
    tmp_path: Path, quick_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`failed` is called once, no `done` is, and nothing more is accepted."""
    monkeypatch.setattr("tenuto.storage.journal.QUICK_SECONDS", quick_seconds)
    failures: list[BaseException] = []
    dones: list[int] = []
    journal = await open_journal(tmp_path / "a.db", failed=failures.append)
    await commit(journal, Batch([Append(1, 1, b"entry")]))
    journal.commit(Batch([Append(1, 1, b"the same place")]), lambda: dones.append(1))
    with pytest.raises(StorageFailed):
        await journal.flush()
    with pytest.raises(StorageFailed):
        journal.commit(Batch([Append(1, 2, b"later")]), lambda: dones.append(2))
    await journal.close()

    assert (len(failures), dones) == (1, [])
