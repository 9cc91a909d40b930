"""SQLite, one file: opens it with the settings that the promise of durability needs, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tenuto.errors import Conflict, NotFound, StorageFailed, TenutoError
from tenuto.storage.database import Row, Step
from tenuto.storage.explaining import HINTS, NO_SPACE, explain, explain_reading
from tenuto.storage.journal import DatabaseJournal, DatabaseReader
from tenuto.storage.lock import FileLock, lock_path
from tenuto.storage.queries import Query
from tenuto.storage.schema import check_ours, check_version, migrate

OLDEST_SQLITE = (3, 37, 0)
"""Strict tables came with 3.37."""

BUSY_TIMEOUT_MS = 10_000
"""How long to wait for a lock that another program holds on the database."""

CHECKPOINT_PAGES = 1000
"""Pages in the write-ahead log (4 MiB) after which a commit moves them into the database."""

LOG_BYTES_MAX = 64 * 1024 * 1024
"""Size of the write-ahead log at which readers are made to let go of it. Ordinarily it starts over
by itself at `CHECKPOINT_PAGES`; readers that come and go without a pause can keep it from that."""

READERS_WAIT_MS = 250
"""How long commits wait for readers then; one that does not let go is waited for again later."""

LOG_AHEAD_BYTES = 256 * 1024
"""Zeros put at the end of the write-ahead log when it is opened. An fsync that also has to record a
new file size costs about twice as much, and a short-lived process would only ever see those.
SQLite takes frames of zeros for what they are, no frames, as it does with those of former rounds."""

_LOG_PART_BYTES = 1024 * 1024

CACHE_KIB = 16 * 1024
"""Memory for pages of the database, per connection, at most. With 64 MiB nothing measured got faster."""

STATEMENTS_CACHED = 256

_ROWS_AT_ONCE = (512, 64, 8, 1)
"""Rows of one statement: each execution gives up the interpreter lock, and a busy event loop
gives it back only after its switch interval, so that one statement for each row can starve."""

_DANGEROUS_BUILD_OPTIONS = ("NO_SYNC", "DISABLE_DIRSYNC", "OMIT_WAL", "THREADSAFE=0")

_TAKEN_AWAY = (
    # The lock says nothing but who is there.
    "Start again: nothing of the data was in it.",
    "If it was moved, end this process, put it back beside its -wal and start again: everything acknowledged"
    " is in these two. If it was removed, remove its -wal too, and restore a backup.",
    # SQLite has the log open, whatever became of its name, and empties it into the database at the end.
    "Let this process end by itself, then start again: at its end it writes what the log held into the"
    " database.",
)
"""What to do when a file is no more what was opened: the lock, the database, its log."""

_SETTINGS: Mapping[str, object] = {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1}
"""What must be read back: write-ahead log, FULL (fsync at each commit), and a flush of the disk's
own cache where the system tells these apart."""


def check_build(options: Iterable[str], version: tuple[int, ...]) -> None:
    """Refuse a SQLite library that is too old, or built so that it does not sync."""
    if version < OLDEST_SQLITE:
        raise StorageFailed(
            f"SQLite {'.'.join(map(str, version))} is too old",
            hint=f"Use a Python with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer.",
        )
    bad = sorted(set(options) & set(_DANGEROUS_BUILD_OPTIONS))
    if bad:
        raise StorageFailed(
            f"this SQLite library was built with {', '.join(bad)} and cannot keep data safe",
            hint="Use a Python with an ordinary build of SQLite.",
        )


def check_settings(connection: sqlite3.Connection, path: Path) -> None:
    """Read back what durability rests on; refuse to go on if it is not so."""
    for name, expected in _SETTINGS.items():
        (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
        if actual != expected:
            raise StorageFailed(
                f"{path}: SQLite's {name} is {actual!r} and must be {expected!r}",
                hint="This file system may lack what a write-ahead log needs; use a local disk.",
            )


class SqliteReader:
    """A read-only connection; it neither blocks the writer nor needs the lock.

    `reading` is held while it reads, so that the writer can wait for a moment between two reads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reading = threading.Lock()
        self._connection = _connect(path, "ro")

    def fetch(self, query: Query, values: Mapping[str, Any]) -> list[Row]:
        """Return all rows of a query."""
        with self.reading:
            return self._connection.execute(query.sql, values).fetchall()

    def explain(self, error: BaseException) -> TenutoError:
        """Return the error to raise for one of a read: `StorageFailed` unless it is that call's alone."""
        return explain_reading(error, self._path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def check(self) -> None:
        """Refuse a file that is not ours or has another schema."""
        check_ours(self._connection, self._path)
        check_version(self._connection, self._path)


class SqliteWriter:
    """The one writing connection. Only it moves pages out of the write-ahead log.

    That matters beyond tidiness: SQLite before 3.51.3 can corrupt a database when two connections
    write and checkpoint at the same instant.
    """

    def __init__(self, path: Path) -> None:
        """Open the file with checked settings, bring its schema up to date, and open its `reader`.

        Its lock has to be held.
        """
        self._path = path
        self._log_path = f"{path}-wal"
        self._log_limit = LOG_BYTES_MAX
        self._connection = _connect(path, "rw")
        try:
            self._prepare()
            self._lock_file = os.open(lock_path(path), os.O_WRONLY | os.O_CLOEXEC)
        except BaseException:
            self._connection.close()
            raise
        try:
            files = (str(lock_path(path)), str(path), self._log_path)
            self._files = [
                (file, _identity(file), hint) for file, hint in zip(files, _TAKEN_AWAY, strict=True)
            ]
            self.reader = SqliteReader(path)
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        connection = self._connection
        options = [option for (option,) in connection.execute("PRAGMA compile_options")]
        check_build(options, sqlite3.sqlite_version_info)
        check_ours(connection, self._path)
        connection.execute("PRAGMA journal_mode = wal").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = 1")
        connection.execute("PRAGMA checkpoint_fullfsync = 1")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}").fetchone()
        check_settings(connection, self._path)
        self._write_log_again()
        migrate(connection, self._path)

    def _write_log_again(self) -> None:
        """Write what stands in the write-ahead log once more, in its place, and sync it.

        What a killed process wrote and had not synced is read here, and need not be on the disk. Nor need
        what an fsync failed for: that stays in memory, and no later fsync writes it. Runs go on from what
        is read, and commits stand behind it: a power failure must not take it away from under them.
        """
        self._connection.execute("BEGIN IMMEDIATE")  # Nobody else writes there meanwhile.
        try:
            descriptor = os.open(self._log_path, os.O_RDWR | os.O_CLOEXEC)
            try:
                place = 0
                while part := os.pread(descriptor, _LOG_PART_BYTES, place):
                    place += os.pwrite(descriptor, part, place)
                if place:
                    _sync(descriptor)
            finally:
                os.close(descriptor)
            # The log's name too: SQLite syncs it at the first commit, and takes no notice if that fails.
            _sync_folder(self._path.parent)
        finally:
            self._connection.execute("ROLLBACK")

    def write(self, steps: Sequence[Step]) -> None:
        """Carry out all steps in one transaction with fsync, or none of them."""
        if self._log_bytes() > self._log_limit:
            self._shorten_log()
        self._commit(steps)
        self._check_still_written()

    def _commit(self, steps: Sequence[Step]) -> None:
        execute = self._connection.execute
        if len(steps) == 1 and len(steps[0][1]) == steps[0][0].width:
            # One statement is a transaction of its own, without the way there and back.
            execute(steps[0][0].times(1), steps[0][1])
            return
        try:
            execute("BEGIN IMMEDIATE")
            for query, values in steps:
                done = 0
                for rows in _ROWS_AT_ONCE:
                    size = rows * query.width
                    while len(values) - done >= size:
                        execute(query.times(rows), values[done : done + size])
                        done += size
            execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    def _check_still_written(self) -> None:
        """Raise `StorageFailed` if the file system has stopped to take writes.

        ext4 does so once it finds an error in itself (`errors=remount-ro`, as Debian mounts it). An fsync
        that is under way just then may say that all is on the disk, which it is not: 5 of 25 times on Linux
        6.18. A file that is cut to the size that it has changes nothing, but needs the file system's own
        journal: this fails from the first moment on, and takes 2 microseconds. To write no bytes, or to ask
        for the state of the mount, notices too late.
        """
        try:
            os.ftruncate(self._lock_file, os.fstat(self._lock_file).st_size)
        except OSError as error:
            raise StorageFailed(
                f"{self._path}: the file system takes no more writes: {error.strerror}",
                hint="Look into the system log for disk errors before you start again.",
            ) from error

    def _log_bytes(self) -> int:
        """Return the size of the log, once all files are those that were opened.

        What is written after somebody has removed or replaced one would be in no file, or in one that nobody
        opens again; without the lock file, two processes could believe that they hold the lock.
        """
        size = 0
        for file, known, hint in self._files:
            try:
                there = os.stat(file)
            except FileNotFoundError:
                there = None
            if there is None or (there.st_dev, there.st_ino) != known:
                raise StorageFailed(f"{file}: somebody has removed or replaced this file", hint=hint)
            size = there.st_size
        return size

    def _shorten_log(self) -> None:
        """Start the log over: between two reads of this process, when those of others have ended."""
        execute = self._connection.execute
        reading = self.reader.reading
        free = reading.acquire(timeout=READERS_WAIT_MS / 1000)
        try:
            execute(f"PRAGMA busy_timeout = {READERS_WAIT_MS}").fetchone()
            execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchone()
        finally:
            if free:
                reading.release()
        self._log_limit = os.stat(self._log_path).st_size + LOG_BYTES_MAX

    def explain(self, error: BaseException) -> StorageFailed:
        """Return the error to raise for one of SQLite's."""
        return explain(error, self._path)

    def close(self) -> None:
        """Empty the write-ahead log into the database, if nothing hinders, and close."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._connection.close()
        os.close(self._lock_file)


async def open_journal(
    path: Path, *, failed: Callable[[BaseException], None], command: str = ""
) -> DatabaseJournal:
    """Open or create a database and become its one writer.

    `failed` is called once, on the event loop's thread, when the store can no longer keep its
    word. `command` tells others what holds the database. Raises `DatabaseHeld` when another
    process has it, `Conflict` when it is not a database of this version, and `StorageFailed` when
    durability cannot be had.
    """
    loop = asyncio.get_running_loop()
    lock, writer = await loop.run_in_executor(None, _open, path, command)
    return DatabaseJournal(writer.reader, writer, failed=failed, release=lock.release)


async def open_reader(path: Path) -> DatabaseReader:
    """Open a database for reading only, whether or not another process holds it.

    Raises `NotFound` when there is none.
    """
    loop = asyncio.get_running_loop()
    return DatabaseReader(await loop.run_in_executor(None, _open_reader, path))


def _open(path: Path, command: str) -> tuple[FileLock, SqliteWriter]:
    path = path.resolve()
    with contextlib.ExitStack() as undo, _explained(path):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        lock = FileLock(path, command)
        undo.callback(lock.release)
        _check_whole(path)
        _create(path)
        writer = SqliteWriter(path)
        undo.callback(writer.close)
        undo.callback(writer.reader.close)
        _extend_log(path)
        undo.pop_all()
        return lock, writer


def _open_reader(path: Path) -> SqliteReader:
    path = path.resolve()
    if not path.is_file():
        raise NotFound(f"there is no database at {path}", hint="Name it with --db, or start a run first.")
    with contextlib.ExitStack() as undo, _explained(path):
        reader = SqliteReader(path)
        undo.callback(reader.close)
        reader.check()
        undo.pop_all()
        return reader


def _check_whole(path: Path) -> None:
    """Refuse to make a new database beside the log of one that is gone: nobody would see that it is empty."""
    log = Path(f"{path}-wal")
    if not log.exists() or (path.exists() and (path.stat().st_size or not log.stat().st_size)):
        return
    raise StorageFailed(
        f"{path}: the database is {'empty' if path.exists() else 'gone'}, but its log is there: {log}",
        hint="If it was moved, put it back beside its log. If not, remove the log too: a backup, or a new"
        " database, begins without it.",
    )


def _create(path: Path) -> None:
    """Make the file, for its owner only, and make its name durable before anything is in it.

    So are the names of all folders above it, up to where its file system begins: some may have been made
    just now, or by a process that was killed before it came here.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if os.stat(path).st_size:
        return
    _sync_folder(path.parent)
    # Folders are compared with each other: an overlay says of a file that it is on the disk below.
    device = os.stat(path.parent).st_dev
    for folder in path.parent.parents:
        if os.stat(folder).st_dev != device:
            break
        with contextlib.suppress(PermissionError):  # A folder that may not be read is not of our making.
            _sync_folder(folder)


def _sync(descriptor: int) -> None:
    """Make what a file holds durable. On macOS only `F_FULLFSYNC` empties the disk's own cache too."""
    whole = getattr(fcntl, "F_FULLFSYNC", None)
    if whole is not None:
        try:
            fcntl.fcntl(descriptor, whole)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
    getattr(os, "fdatasync", os.fsync)(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _identity(file: str) -> tuple[int, int]:
    there = os.stat(file)
    return there.st_dev, there.st_ino


def _extend_log(path: Path) -> None:
    """Make room in the write-ahead log; nobody else writes it, since this process has the lock."""
    descriptor = os.open(f"{path}-wal", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, bytes(LOG_AHEAD_BYTES))
        _sync(descriptor)
    except OSError as error:
        # The room is for speed only; what may still fit must not be refused for its sake.
        if error.errno not in NO_SPACE:
            raise
    finally:
        os.close(descriptor)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_MS / 1000,
        cached_statements=STATEMENTS_CACHED,
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _explained(path: Path) -> Any:
    """Turn what SQLite and the system say into our errors."""
    try:
        yield
    except TenutoError:
        raise
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise Conflict(f"{path} is not a database", hint=HINTS[sqlite3.SQLITE_NOTADB]) from error
        raise explain(error, path) from error
    except OSError as error:
        raise explain(error, path) from error
