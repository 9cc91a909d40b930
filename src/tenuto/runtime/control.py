"""How another process asks the one that owns a database to do something: a socket beside the file.

    {"verb": "cancel", "run": "..."}   ->   {"status": "cancelled"}   or   {"error": {...}}

One request and one answer a connection, each a line of JSON. Only the file's owner may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto.engine.model import Json
from tenuto.errors import (
    Conflict,
    InvalidInput,
    LimitExceeded,
    NotFound,
    StorageFailed,
    TenutoError,
    Unavailable,
)

# The kernel's limit for a socket's path, less one for the final zero.
LONGEST_SOCKET_PATH: Final = 107
ANSWER_SECONDS: Final = 30.0
REQUEST_SECONDS: Final = 10.0  # for a request to come once somebody has connected
MESSAGE_BYTES_MAX: Final = 1024 * 1024  # of a request, and of an answer

_REFUSALS: Final[dict[str, type[TenutoError]]] = {
    kind.code: kind for kind in (Conflict, InvalidInput, LimitExceeded, NotFound, StorageFailed, Unavailable)
}

Handler = Callable[[dict[str, Json]], Awaitable[dict[str, Json]]]


def socket_path(database: Path) -> Path:
    """Return where the owner of a database listens: beside it, or in the folder for temporary files."""
    beside = Path(f"{database.absolute()}.sock")
    if len(os.fsencode(beside)) <= LONGEST_SOCKET_PATH:
        return beside
    digest = hashlib.sha256(os.fsencode(database.absolute())).hexdigest()[:16]
    return _private_folder() / f"{digest}.sock"


def _private_folder() -> Path:
    """Return a folder for temporary files that only this user can write to.

    In the common one, somebody else could be there first and answer in the owner's place.
    """
    folder = Path(tempfile.gettempdir()) / f"tenuto-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Conflict(
            f"{folder} does not belong to this user alone",
            hint="remove it, or use a database whose path is shorter",
        )
    return folder


@contextlib.asynccontextmanager
async def answering(database: Path, handle: Handler) -> Any:
    """Answer requests about a database as long as the context is open."""
    path = socket_path(database)
    under_way: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            line = await _request(reader)
            if line is None:
                return
            # Only now: who connects and says nothing must not keep this process from ending.
            task = asyncio.current_task()
            assert task is not None
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            writer.write(msgspec.json.encode(await _answer(handle, line)) + b"\n")
            with contextlib.suppress(ConnectionError):
                await writer.drain()

    mask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(serve, path, limit=MESSAGE_BYTES_MAX)
    except OSError as error:
        raise StorageFailed(
            f"{path}: {error.strerror}", hint="Make room on the disk, and its folder writable."
        ) from error
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(OSError):  # One that is left over is removed at the next start.
            path.unlink(missing_ok=True)
        if under_way:
            # What was asked may be why this process ends: who asked still gets an answer.
            await asyncio.wait(under_way)


async def _request(reader: asyncio.StreamReader) -> bytes | None:
    """Return a request; None from somebody who left, says nothing, or says too much."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await reader.readline()
    except (ConnectionError, TimeoutError, ValueError):
        return None


async def _answer(handle: Handler, line: bytes) -> dict[str, Json]:
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        return await handle(request)
    except TenutoError as error:
        return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return {"error": {"code": "invalid-input", "message": f"not a request: {error}", "hint": None}}


async def ask(database: Path, request: dict[str, Json]) -> dict[str, Json]:
    """Ask the process that owns a database, and return its answer.

    Raises:
        Unavailable: Nobody answers there.
        TenutoError: The owner refused; code and hint are its own.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(
                socket_path(database), limit=MESSAGE_BYTES_MAX
            )
            with contextlib.closing(writer):
                writer.write(msgspec.json.encode(request) + b"\n")
                answer = msgspec.json.decode(await reader.readline(), type=dict[str, Any])
    except (OSError, TimeoutError, ValueError) as error:
        raise Unavailable(
            f"the process that owns {database} does not answer: {error}", hint="stop it and try again"
        ) from None
    if "error" in answer:
        refusal = answer["error"]
        raise _REFUSALS.get(refusal["code"], TenutoError)(refusal["message"], hint=refusal["hint"])
    return answer
