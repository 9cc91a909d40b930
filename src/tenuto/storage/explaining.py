"""What to tell people when SQLite or the system refuses: what happened to which file, and what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from tenuto.errors import StorageFailed

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
    hint = HINTS.get((code or 0) & 0xFF, _OTHERWISE)
    return StorageFailed(f"{path}: {doing}{words or type(error).__name__}", hint=hint)
