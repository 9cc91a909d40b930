"""What to tell people when SQLite or the system refuses: what happened to which file, and what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from tenuto.errors import InvalidInput, LimitExceeded, StorageFailed, TenutoError, Unavailable

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)

HINTS: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "Free some disk space, then start again: everything acknowledged is there.",
    sqlite3.SQLITE_IOERR: "Look into the system log for disk errors before you start again.",
    sqlite3.SQLITE_READONLY: "Make the database file, its folder and its file system writable.",
    sqlite3.SQLITE_CANTOPEN: "Check that the folder exists and may be written, or name another with --db.",
    sqlite3.SQLITE_BUSY: "Another program keeps the database locked; end it, then start again.",
    sqlite3.SQLITE_CORRUPT: "Restore the file from a backup, and check the disk.",
    sqlite3.SQLITE_NOTADB: "Name another file with --db.",
    sqlite3.SQLITE_CONSTRAINT: "Something else wrote to this database. Please report it, with this message.",
}

_MORE_FILES = "Let this process open more files (ulimit -n), then start again."
_OTHERWISE = "Look into the system log, then start again: everything acknowledged is there."
_UNEXPECTED = "Please report it, with this message."

_CODES: Mapping[int, int] = {
    **dict.fromkeys(NO_SPACE, sqlite3.SQLITE_FULL),
    **dict.fromkeys(_NO_PLACE, sqlite3.SQLITE_CANTOPEN),
    errno.EIO: sqlite3.SQLITE_IOERR,
}
"""What SQLite would say where the system says this."""


def explain(error: BaseException, path: Path, doing: str = "") -> StorageFailed:
    """Return the error to raise for what SQLite or the system said, while something was being done."""
    if isinstance(error, StorageFailed):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    words: object = error
    if isinstance(error, OSError):
        code = _CODES.get(error.errno or 0)
        words = error.strerror or error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return StorageFailed(f"{path}: {doing}{words}", hint=_MORE_FILES)
    otherwise = _OTHERWISE if isinstance(error, sqlite3.Error | OSError) else _UNEXPECTED
    hint = HINTS.get((code or 0) & 0xFF, otherwise)
    return StorageFailed(f"{path}: {doing}{words or type(error).__name__}", hint=hint)


def explain_reading(error: BaseException, path: Path) -> TenutoError:
    """Return the error to raise for a read that failed: `StorageFailed` unless it is that call's alone.

    Of the call are a value that no database takes, and what is too large for this process: both say
    nothing of the file, and everything else in it can be read.
    """
    if isinstance(error, UnicodeEncodeError | OverflowError | TypeError) or _is_binding(error):
        return InvalidInput(
            f"nothing in a database can be asked for by this value: {error}",
            hint="Texts have to be Unicode without lone surrogates, and numbers have 63 bits.",
        )
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG:
        return LimitExceeded(f"{path}: this cannot be read at once: {error}")
    if isinstance(error, MemoryError):
        return Unavailable(f"{path}: there is not enough memory to read this", hint="Give the process more.")
    return explain(error, path)


def _is_binding(error: BaseException) -> bool:
    """Whether it is about a value of a type that SQLite does not know; it has no code for that."""
    return isinstance(error, sqlite3.Error) and str(error).startswith("Error binding parameter")
