"""One session with a database, alike for SQLite, PostgreSQL and MariaDB.

async with open_session(call, url, ...) as session:
    await session.run("BEGIN ...")
    outcome = await session.run("SELECT :a", {"a": 1})
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from tenuto.connectors.sql_text import Dialect, bind
from tenuto.plugin import Call, configuration_fault, validation_fault

BUSY_SECONDS: Final = 5.0  # how long SQLite waits for another writer
SCHEMES: Final[dict[str, Dialect]] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mariadb": "mariadb",
    "mysql": "mariadb",
}
_PORTS: Final = {"postgresql": 5432, "mariadb": 3306}
_Answer = TypeVar("_Answer")


class Outcome(msgspec.Struct, frozen=True):
    """What a statement did: its rows as plain JSON, and how many rows it changed."""

    rows: list[dict[str, Any]]
    affected: int


class Session(Protocol):
    """A connection that carries out one statement at a time."""

    dialect: Dialect

    async def begin(self, *, read_only: bool) -> None:
        """Begin a transaction; one that writes takes SQLite's lock at once."""

    async def run(self, statement: str, values: Mapping[str, Any], limit: int) -> Outcome:
        """Carry out one statement; a validation fault if it gives more rows than `limit`."""

    async def commit(self) -> None:
        """Make the transaction last."""

    async def rollback(self) -> None:
        """Take the transaction back."""


class Address(msgspec.Struct, frozen=True):
    """A database's URL, taken apart; `host` and `port` are empty for SQLite."""

    dialect: Dialect
    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def name(self) -> str:
        """Return what errors call this database; it has no credentials."""
        return self.database if self.dialect == "sqlite" else f"{self.dialect} at {self.host}:{self.port}"


def read_url(url: str, user: str | None, password: str | None) -> Address:
    """Return a database URL's parts; a configuration fault tells the right form."""
    scheme = url.partition("://")[0]
    dialect = SCHEMES.get(scheme)
    try:
        if dialect is None or "://" not in url:
            raise ValueError
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise ValueError
        if dialect == "sqlite":
            path = unquote(url.partition("://")[2]).removeprefix("/")
            if not path:
                raise ValueError
            return Address(dialect, "", 0, "", "", path)
        if not parts.hostname or not parts.path.strip("/"):
            raise ValueError
        return Address(
            dialect,
            parts.hostname,
            parts.port or _PORTS[dialect],
            user or unquote(parts.username or ""),
            password or unquote(parts.password or ""),
            unquote(parts.path.strip("/")),
        )
    except ValueError:
        raise configuration_fault(
            "`database` is not of the form sqlite:///file.db, postgresql://user@host/name or "
            "mariadb://user@host/name (with no `?` part)"
        ) from None


def limited(rows: list[Any], limit: int) -> list[Any]:
    """Return the rows; a validation fault if there are more than `limit`."""
    if len(rows) > limit:
        raise validation_fault(
            f"the statement gives more than {limit} rows; raise `limit`, or add LIMIT to it"
        )
    return rows


def named(columns: list[str], row: Any, convert: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a row as an object."""
    return {column: convert(value) for column, value in zip(columns, row, strict=True)}


def distinct(columns: list[str]) -> list[str]:
    """Return the columns' names; a validation fault if two are equal, for one would hide the other."""
    for column in columns:
        if columns.count(column) > 1:
            raise validation_fault(f"the statement gives two columns `{column}`; name one of them with AS")
    return columns


class Binary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes, as JSON has them here: `{"base64": "..."}`."""

    base64: bytes


def to_json(value: Any) -> Any:
    """Return a database's value as JSON: decimals and times as strings, bytes as `{"base64": ...}`."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return msgspec.to_builtins(Binary(bytes(value)))
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (str, int, float, dict)):
        return value
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        return str(value)


def from_json(value: Any) -> Any:
    """Return a parameter for databases that take any value: objects and lists as JSON text."""
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return msgspec.convert(value, Binary).base64
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value).decode()
    return value


class OwnThread:
    """The thread of one session, so that many that wait for a lock hold nothing else up.

    The threads that asyncio shares among all are few, and names are looked up there, too.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "tenuto-sql")

    async def do(self, work: Callable[[], _Answer], interrupt: Callable[[], None] = lambda: None) -> _Answer:
        """Do blocking work; when cancelled, interrupt it and wait until it is over."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            interrupt()
            await asyncio.wait([future])
            future.exception()
            raise

    def close(self) -> None:
        """Let the thread end with its last work."""
        self._executor.shutdown(wait=False)


class SqliteSession:
    """A session with an SQLite file."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection, thread: OwnThread) -> None:
        self._connection = connection
        self._thread = thread

    async def begin(self, *, read_only: bool) -> None:
        """Begin; a writer waits here for other writers, so that it cannot fail for them later."""
        await self._do(lambda: self._connection.execute(f"PRAGMA query_only = {int(read_only)}"))
        await self._do(lambda: self._connection.execute("BEGIN" if read_only else "BEGIN IMMEDIATE"))

    async def run(self, statement: str, values: Mapping[str, Any], limit: int) -> Outcome:
        """Carry out one statement."""
        text, parameters = bind(statement, values, "sqlite")
        given = [from_json(value) for _, value in parameters]

        def work() -> Outcome:
            cursor = self._connection.execute(text, given)
            columns = distinct([column[0] for column in cursor.description or ()])
            rows = limited(cursor.fetchmany(limit + 1), limit)
            return Outcome([named(columns, row, to_json) for row in rows], max(cursor.rowcount, 0))

        return await self._do(work)

    async def commit(self) -> None:
        """Make the transaction last."""
        await self._do(self._connection.commit)

    async def rollback(self) -> None:
        """Take the transaction back."""
        await self._do(self._connection.rollback)

    async def _do(self, work: Callable[[], _Answer]) -> _Answer:
        return await self._thread.do(work, self._connection.interrupt)


@asynccontextmanager
async def open_sqlite(call: Call, address: Address) -> AsyncIterator[SqliteSession]:
    """Open an SQLite file; a relative path is looked up in the call's first folder."""
    path = Path(address.database)
    if not path.is_absolute() and call.folders:
        path = call.folders[0] / path

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    with closing(OwnThread()) as thread:
        connection = await thread.do(connect)
        try:
            await thread.do(lambda: connection.execute("PRAGMA foreign_keys = ON"))
            yield SqliteSession(connection, thread)
        finally:
            await thread.do(connection.close)
