"""Stores that do not keep their word, made from outside: a harness that does not notice these is broken."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from tenuto.storage import sqlite
from tenuto.storage.sqlite import SqliteWriter
from tests.reliability.zoo import BUGS


@contextmanager
def _after_the_check(pragma: str) -> Iterator[None]:
    """Change a setting once the store has read it back: before, it would refuse to open."""
    prepare = SqliteWriter._prepare

    def weaker(self: SqliteWriter) -> None:
        prepare(self)
        self._connection.execute(pragma)

    with mock.patch.object(SqliteWriter, "_prepare", weaker):
        yield


@contextmanager
def synchronous_normal() -> Iterator[None]:
    """The log is synced at checkpoints only."""
    with _after_the_check("PRAGMA synchronous = NORMAL"):
        yield


@contextmanager
def synchronous_off() -> Iterator[None]:
    """Nothing is synced."""
    with _after_the_check("PRAGMA synchronous = OFF"):
        yield


@contextmanager
def folders_not_synced() -> Iterator[None]:
    """A new database's name, and those of the folders above it, are left to themselves."""

    def create(path: Path) -> None:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    with mock.patch.object(sqlite, "_create", create):
        yield


@contextmanager
def log_not_written_again() -> Iterator[None]:
    """A start goes on from what it reads in the log, whether or not that is on the disk."""
    with mock.patch.object(SqliteWriter, "_write_log_again"):
        yield


def acknowledged_before_the_commit() -> AbstractContextManager[None]:
    """Whoever asks is told before the transaction is on disk."""
    return BUGS["acknowledged before the commit"]()


def commands_before_the_fsync() -> AbstractContextManager[None]:
    """What a run wants is done while its entry is still being written."""
    return BUGS["commands before the fsync"]()


def _instead(write: Callable[[Any, Any], None]) -> Any:
    return mock.patch.object(SqliteWriter, "write", write)


@contextmanager
def failures_swallowed() -> Iterator[None]:
    """What the database refuses, a full disk for instance, is passed over as if it had been written."""
    real = SqliteWriter.write

    def careless(self: SqliteWriter, steps: Any) -> None:
        with suppress(sqlite3.Error, OSError):
            real(self, steps)

    with _instead(careless):
        yield
