"""How another process asks the one that owns a database to do something: a socket beside the file.

    {"verb": "cancel", "run": "..."}   ->   {"status": "cancelled"}   or   {"error": {...}}

One request and one answer a connection, each a line of JSON. Only the file's owner may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto.engine.model import Json
from tenuto.errors import TenutoError, Unavailable

# The kernel's limit for a socket's path, less one for the final zero.
LONGEST_SOCKET_PATH: Final = 107
ANSWER_SECONDS: Final = 30.0

Handler = Callable[[dict[str, Json]], Awaitable[dict[str, Json]]]


def socket_path(database: Path) -> Path:
    """Return where the owner of a database listens: beside it, or in the folder for temporary files."""
    beside = Path(f"{database.absolute()}.sock")
    if len(os.fsencode(beside)) <= LONGEST_SOCKET_PATH:
        return beside
    digest = hashlib.sha256(os.fsencode(database.absolute())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tenuto-{os.getuid()}-{digest}.sock"


@contextlib.asynccontextmanager
async def answering(database: Path, handle: Handler) -> Any:
    """Answer requests about a database as long as the context is open."""
    path = socket_path(database)
    under_way: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        with contextlib.suppress(ConnectionError):
            answer = await _answer(handle, await reader.readline())
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(serve, path)
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)
        if under_way:
            # What was asked may be why this process ends: who asked still gets an answer.
            await asyncio.wait(under_way)


async def _answer(handle: Handler, line: bytes) -> dict[str, Json]:
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        return await handle(request)
    except TenutoError as error:
        return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    except msgspec.DecodeError as error:
        return {"error": {"code": "invalid-input", "message": f"not a request: {error}", "hint": None}}


async def ask(database: Path, request: dict[str, Json]) -> dict[str, Json]:
    """Ask the process that owns a database, and return its answer.

    Raises:
        Unavailable: Nobody answers there.
        TenutoError: The owner refused; code and hint are its own.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket_path(database))
            writer.write(msgspec.json.encode(request) + b"\n")
            line = await reader.readline()
            writer.close()
            answer = msgspec.json.decode(line, type=dict[str, Any])
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        raise Unavailable(
            f"the process that owns {database} does not answer: {error}", hint="stop it and try again"
        ) from None
    if "error" in answer:
        refusal = TenutoError(answer["error"]["message"], hint=answer["error"]["hint"])
        refusal.code = answer["error"]["code"]
        raise refusal
    return answer
