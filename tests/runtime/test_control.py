"""The socket beside a database: one request, one answer, and nobody can hold its owner up."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tenuto.errors import Conflict, NotFound, Unavailable
from tenuto.runtime.control import answering, ask, socket_path


async def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with the request, or refuse."""
    if request.get("verb") == "refuse":
        raise NotFound("no such run", hint="look again")
    return {"asked": request}


async def test_who_asks_is_answered(tmp_path: Path) -> None:
    """Also with a reason that is long."""
    request = {"verb": "cancel", "reason": "x" * 200_000}
    async with answering(tmp_path / "db", handle):
        answer = await ask(tmp_path / "db", request)

    assert {"asked": request} == answer


async def test_a_refusal_is_the_owners_own(tmp_path: Path) -> None:
    """The same class, so the same exit status as without another process in between."""
    async with answering(tmp_path / "db", handle):
        with pytest.raises(NotFound, match="no such run") as refused:
            await ask(tmp_path / "db", {"verb": "refuse"})

    assert "look again" == refused.value.hint


async def test_a_silent_guest_does_not_keep_the_owner_from_ending(tmp_path: Path) -> None:
    """Only who has asked for something is waited for."""
    async with asyncio.timeout(5):
        async with answering(tmp_path / "db", handle):
            _, silent = await asyncio.open_unix_connection(socket_path(tmp_path / "db"))
            await ask(tmp_path / "db", {})
        silent.close()


async def test_a_request_without_end_gets_no_answer(tmp_path: Path) -> None:
    """It is not kept in memory, and the next one is answered."""
    async with answering(tmp_path / "db", handle):
        with pytest.raises(Unavailable):
            await ask(tmp_path / "db", {"reason": "x" * 3_000_000})
        answer = await ask(tmp_path / "db", {})

    assert {"asked": {}} == answer


async def test_the_socket_of_a_long_path_lies_where_nobody_else_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that others may write to is refused: somebody there could answer in the owner's place."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    database = tmp_path / ("d" * 100) / "db"
    async with answering(database, handle):
        await ask(database, {})
        folder = socket_path(database).parent

    assert 0o700 == folder.stat().st_mode & 0o777
    folder.chmod(0o777)
    with pytest.raises(Conflict, match="does not belong to this user alone"):
        await ask(database, {})


async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    """Whatever the process makes of other files."""
    mask = os.umask(0)
    try:
        async with answering(tmp_path / "db", handle):
            mode = socket_path(tmp_path / "db").stat().st_mode & 0o777
    finally:
        os.umask(mask)

    assert 0o600 == mode
