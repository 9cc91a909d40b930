"""Query and change SQL databases: SQLite, PostgreSQL, MariaDB (and MySQL).

A statement names its values, `:name`, and gets them as `parameters`: they never become part of
its text. The database is a URL: `sqlite:///file.db` (relative to the workflow's folder),
`postgresql://user@host/name`, `mariadb://user@host/name`.

In rows, decimals, dates, times and durations are strings (ISO 8601), bytes are
`{"base64": "..."}`. As parameters, bytes are written so too; objects and lists become JSON, in
PostgreSQL lists become arrays where the statement wants an array.

To undo a write, call `sql.execute` with the opposite statement in the workflow's own undo tasks.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Annotated, Any, Final

import msgspec

from tenuto.connectors.sockets import answers_of
from tenuto.connectors.sql_session import Address, Session, open_sqlite, read_url
from tenuto.plugin import (
    Call,
    Faulted,
    Secret,
    authorization_fault,
    communication_fault,
    configuration_fault,
    function,
    validation_fault,
)

VERSION = "1.0.0"

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
DEFAULT_LIMIT: Final = 1000
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_MAKE_ONCE: Final = (
    "CREATE TABLE IF NOT EXISTS tenuto_once (action_key VARCHAR(255) PRIMARY KEY, result TEXT NOT NULL)"
)
_READ_ONCE: Final = "SELECT result FROM tenuto_once WHERE action_key = :key"
_CLAIM_ONCE: Final = "INSERT INTO tenuto_once (action_key, result) VALUES (:key, '')"
_KEEP_ONCE: Final = "UPDATE tenuto_once SET result = :result WHERE action_key = :key"


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One statement of a transaction, with its values."""

    statement: Annotated[str, msgspec.Meta(description="SQL, with `:name` for each value.")]
    parameters: Annotated[dict[str, Any], msgspec.Meta(description="The values, by name.")] = {}


@function(effect="read")
async def query(
    call: Call,
    *,
    database: str,
    statement: str,
    parameters: dict[str, Any] | None = None,
    user: str | None = None,
    password: Secret | None = None,
    tls: bool | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> list[dict[str, Any]]:
    """Read rows; the database refuses statements that would change it.

    Returns a list of objects, one for each row, with the columns' names.

    Args:
        database: The database's URL.
        statement: One SQL statement, with `:name` for each value.
        parameters: The values, by name.
        user: The account, if the URL does not name it.
        password: Its password, if it is not in the URL.
        tls: Whether to encrypt and to check the server's certificate; if not given, yes unless
            the host is this machine.
        limit: The most rows to give; more are a fault.
        timeout: Seconds that everything together may take.
    """
    address = read_url(database, user, password)
    async with _session(call, address, tls, timeout) as session:
        await session.begin(read_only=True)
        outcome = await session.run(statement, parameters or {}, limit)
        await session.rollback()
        return outcome.rows


@function(effect="write")
async def execute(
    call: Call,
    *,
    database: str,
    statement: str,
    parameters: dict[str, Any] | None = None,
    once: bool = False,
    autocommit: bool = False,
    user: str | None = None,
    password: Secret | None = None,
    tls: bool | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Change a database with one statement.

    Returns `{affected, rows}`: how many rows it changed, and those of a RETURNING clause.

    Args:
        database: The database's URL.
        statement: One SQL statement, with `:name` for each value.
        parameters: The values, by name.
        once: Whether to keep the action's idempotency key and the result in a table `tenuto_once`
            of that database, in the same transaction, so that a repeated attempt finds the
            result there and changes nothing.
        autocommit: Whether to do without a transaction, for statements that refuse to be in
            one, such as VACUUM.
        user: The account, if the URL does not name it.
        password: Its password, if it is not in the URL.
        tls: Whether to encrypt and to check the server's certificate; if not given, yes unless
            the host is this machine.
        limit: The most rows that RETURNING may give; more are a fault, and nothing is changed.
        timeout: Seconds that everything together may take.
    """
    if once and autocommit:
        raise validation_fault("sql.execute: `once` needs a transaction, so it does not go with `autocommit`")
    address = read_url(database, user, password)
    statements = [Statement(statement, parameters or {})]
    async with _session(call, address, tls, timeout) as session:
        if autocommit:
            return (await _run(session, statements, limit))[0]
        return (await _transact(session, statements, limit, call.idempotency_key if once else None))[0]


@function(effect="write")
async def transaction(
    call: Call,
    *,
    database: str,
    statements: list[Statement],
    once: bool = False,
    user: str | None = None,
    password: Secret | None = None,
    tls: bool | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> list[dict[str, Any]]:
    """Change a database with several statements: all of them, or none.

    Returns `{affected, rows}` for each statement, in order.

    Args:
        database: The database's URL.
        statements: The statements in order, each with its own parameters.
        once: Whether to keep the action's idempotency key and the result in a table `tenuto_once`
            of that database, in the same transaction, so that a repeated attempt finds the
            result there and changes nothing.
        user: The account, if the URL does not name it.
        password: Its password, if it is not in the URL.
        tls: Whether to encrypt and to check the server's certificate; if not given, yes unless
            the host is this machine.
        limit: The most rows that one statement may give; more are a fault, and nothing is changed.
        timeout: Seconds that everything together may take.
    """
    if not statements:
        raise validation_fault("sql.transaction needs at least one statement")
    address = read_url(database, user, password)
    async with _session(call, address, tls, timeout) as session:
        return await _transact(session, statements, limit, call.idempotency_key if once else None)


async def _run(session: Session, statements: Sequence[Statement], limit: int) -> list[dict[str, Any]]:
    outcomes = [await session.run(each.statement, each.parameters, limit) for each in statements]
    return [{"affected": outcome.affected, "rows": outcome.rows} for outcome in outcomes]


async def _transact(
    session: Session, statements: Sequence[Statement], limit: int, key: str | None
) -> list[dict[str, Any]]:
    """Run statements in one transaction; with a key, only if no transaction of that key was committed.

    The key is inserted first: a second attempt that runs at the same time waits for this
    transaction's end, then finds the key taken and reads the result.
    """
    if key is not None:
        await _ensure_once(session)
    await session.begin(read_only=False)
    if key is not None:
        recorded = await session.run(_READ_ONCE, {"key": key}, 1)
        if recorded.rows:
            await session.rollback()
            return _read_result(recorded.rows[0])
        try:
            await session.run(_CLAIM_ONCE, {"key": key}, 1)
        except Exception as refused:
            try:
                await session.rollback()
                recorded = await session.run(_READ_ONCE, {"key": key}, 1)
            except Exception:
                raise refused from None
            if not recorded.rows:
                raise
            return _read_result(recorded.rows[0])
    results = await _run(session, statements, limit)
    if key is not None:
        text = msgspec.json.encode(results).decode()
        await session.run(_KEEP_ONCE, {"key": key, "result": text}, 1)
    await session.commit()
    return results


def _read_result(row: dict[str, Any]) -> list[dict[str, Any]]:
    return msgspec.json.decode(row["result"], type=list[dict[str, Any]])


async def _ensure_once(session: Session) -> None:
    """Make the table if it is not there: who may not make tables can have it made beforehand."""
    try:
        await session.run(_READ_ONCE, {"key": ""}, 1)
    except Exception as unread:
        if not _is_missing(unread):
            raise
        try:
            await session.run(_MAKE_ONCE, {}, 1)
        except Exception as refused:
            try:
                # PostgreSQL lets two sessions race to make it; then it is there now.
                await session.run(_READ_ONCE, {"key": ""}, 1)
            except Exception:
                raise refused from None


def _is_missing(error: Exception) -> bool:
    """Tell whether a statement failed for a missing table: no driver has to be installed to ask."""
    return (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        or getattr(error, "sqlstate", None) == "42P01"
        or error.args[:1] == (1146,)
    )


@asynccontextmanager
async def _session(call: Call, address: Address, tls: bool | None, timeout: float) -> AsyncIterator[Session]:
    """Open a session; tell its errors as faults, and take back what is not committed."""
    secure = address.host not in _LOOPBACK if tls is None else tls
    with answers_of(address.name):
        async with asyncio.timeout(timeout):
            opening, fault = _driver(call, address, secure)
            try:
                async with opening as session:
                    yield session
            except Faulted:
                raise
            except Exception as error:
                told = fault(error, address.name)
                if told is None:
                    raise
                raise told from None


_Fault = Callable[[Exception, str], Faulted | None]


def _driver(call: Call, address: Address, tls: bool) -> tuple[AbstractAsyncContextManager[Session], _Fault]:
    if address.dialect == "sqlite":
        return open_sqlite(call, address), _sqlite_fault
    name = "postgres" if address.dialect == "postgresql" else "mariadb"
    try:
        driver = import_module(f"tenuto.connectors.sql_{name}")
    except ImportError as error:
        raise configuration_fault(
            f'{address.dialect} needs a library that is not installed ({error}); pip install "tenuto[sql]"'
        ) from None
    opening = getattr(driver, f"open_{name}")(call, address, tls)
    return opening, driver.fault


def _sqlite_fault(error: Exception, name: str) -> Faulted | None:
    if not isinstance(error, sqlite3.Error):
        return None
    detail = f"{name}: {error}"
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return communication_fault(detail, 503, transient=True)
    if code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return authorization_fault(detail)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return communication_fault(detail, 409)
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return configuration_fault(f"{detail}; is the folder there?")
    if code & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH) or not code:
        return validation_fault(detail)
    return communication_fault(detail, 500)
