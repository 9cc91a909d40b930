"""Keeps a database file to one process: an advisory lock beside it that the kernel releases at death."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path

from tenuto.errors import DatabaseHeld, StorageFailed

_READ_BYTES = 4096


class FileLock:
    """A held lock on `<database>.lock`; the file tells others who holds it.

    The file is never removed: a process that waits on a removed file and one that makes a new
    one could both believe that they hold the lock.
    """

    def __init__(self, database: Path, command: str = "") -> None:
        """Take the lock or raise `DatabaseHeld`. `command` is what the holder runs, for people."""
        descriptor = os.open(lock_path(database), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(descriptor, database)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": command}
            text = json.dumps({**holder, "started": time.time()}).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text, 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Empty the file and give the lock back; a second call does nothing."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            # A disk that takes no more writes keeps the name of the last holder, and nothing else.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)


def lock_path(database: Path) -> Path:
    """Return the file whose lock stands for a database."""
    return database.with_name(database.name + ".lock")


def _take(descriptor: int, database: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StorageFailed(
                f"{database}: this file system has no locks ({error.strerror})",
                hint="Put the database on a local disk.",
            ) from error
        raise DatabaseHeld(
            f"{database} is in use by {_holder(descriptor)}",
            hint="End that first, or use another database (--db).",
        ) from None


def _holder(descriptor: int) -> str:
    """Return who holds the lock, in words; the holder may not have written it yet."""
    try:
        holder = json.loads(os.pread(descriptor, _READ_BYTES, 0))
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder["started"]))
        command = f" ({holder['command']})" if holder["command"] else ""
        if (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname()):
            return f"this very process {holder['pid']}{command}, since {since}"
        return f"process {holder['pid']}{command} on {holder['host']}, since {since}"
    except (ValueError, KeyError, TypeError):
        return "another process"
