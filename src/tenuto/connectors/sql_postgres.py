"""Sessions with PostgreSQL. The server says which type each parameter has, so JSON fits all of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
import msgspec
from asyncpg.transaction import Transaction

from tenuto.connectors.sockets import answers_of, tls_named
from tenuto.connectors.sql_session import Address, Binary, Outcome, distinct, limited, to_json
from tenuto.connectors.sql_text import Dialect, bind
from tenuto.plugin import (
    Call,
    Faulted,
    authentication_fault,
    authorization_fault,
    communication_fault,
    timeout_fault,
    validation_fault,
)

_TYPES: Final[dict[str, Any]] = {
    "date": date,
    "time": Annotated[time, msgspec.Meta(tz=False)],
    "timetz": Annotated[time, msgspec.Meta(tz=True)],
    "timestamp": Annotated[datetime, msgspec.Meta(tz=False)],
    "timestamptz": Annotated[datetime, msgspec.Meta(tz=True)],
    "interval": timedelta,
    "numeric": Decimal,
    "uuid": UUID,
}
_ARGUMENT: Final = re.compile(r"argument \$(\d+)")
_AFFECTED: Final = re.compile(r"(\d+)$")
CLOSE_SECONDS: Final = 2.0  # for the farewell after a failure
_CONNECT_SECONDS: Final = 86400.0  # the action's own timeout is what counts
_TRANSIENT_CLASSES: Final = ("08", "40", "53", "57")  # connection, rollback, resources, shutdown


class PostgresSession:
    """A session with a PostgreSQL database."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._transaction: Transaction | None = None
        self._reads = False

    async def begin(self, *, read_only: bool) -> None:
        """Begin a transaction."""
        self._reads = read_only
        self._transaction = self._connection.transaction(readonly=read_only)
        await self._transaction.start()

    async def run(self, statement: str, values: Mapping[str, Any], limit: int) -> Outcome:
        """Carry out one statement."""
        text, parameters = bind(statement, values, "postgresql")
        prepared = await self._connection.prepare(text)
        given = [
            _parameter(name, value, kind.name)
            for (name, value), kind in zip(parameters, prepared.get_parameters(), strict=True)
        ]
        attributes = prepared.get_attributes()
        columns = distinct([attribute.name for attribute in attributes])
        documents = [attribute.type.name in ("json", "jsonb") for attribute in attributes]
        try:
            if self._reads and columns:
                records = await (await prepared.cursor(*given)).fetch(limit + 1)
            else:
                records = await prepared.fetch(*given)
        except asyncpg.DataError as error:
            place = _ARGUMENT.search(str(error))
            if place is None:
                raise
            raise validation_fault(f"parameter `{parameters[int(place[1]) - 1][0]}`: {error}") from None
        rows = [
            {
                column: msgspec.json.decode(value) if is_document and value is not None else to_json(value)
                for column, value, is_document in zip(columns, record.values(), documents, strict=True)
            }
            for record in limited(records, limit)
        ]
        count = _AFFECTED.search(prepared.get_statusmsg() or "")
        return Outcome(rows, int(count[1]) if count else 0)

    async def commit(self) -> None:
        """Make the transaction last."""
        if self._transaction is not None:
            await self._transaction.commit()
            self._transaction = None

    async def rollback(self) -> None:
        """Take the transaction back."""
        if self._transaction is not None:
            await self._transaction.rollback()
            self._transaction = None


def _parameter(name: str, value: Any, kind: str) -> Any:
    """Return a JSON value as the driver wants it for a type of the server."""
    if value is None:
        return None
    if kind in ("json", "jsonb"):
        return msgspec.json.encode(value).decode()
    if kind.endswith("[]") and isinstance(value, list):
        return [_parameter(name, item, kind.removesuffix("[]")) for item in value]
    try:
        if kind == "bytea":
            return msgspec.convert(value, Binary).base64
        return msgspec.convert(value, _TYPES[kind]) if kind in _TYPES else value
    except msgspec.ValidationError as error:
        raise validation_fault(f"parameter `{name}` (type {kind} in the database): {error}") from None


def fault(error: Exception, name: str) -> Faulted | None:
    """Return what an error of PostgreSQL means to a workflow, or None if it is not one."""
    if isinstance(error, asyncpg.InterfaceError):
        lost = isinstance(error, asyncpg.ConnectionDoesNotExistError)
        return communication_fault(f"{name}: {error}", 503 if lost else 500, transient=lost)
    if not isinstance(error, asyncpg.PostgresError):
        return None
    state = str(error.sqlstate)
    detail = f"{name}: {error} (SQLSTATE {state})"
    if state == "57014":
        return timeout_fault(detail)
    if state[:2] in _TRANSIENT_CLASSES or state == "55P03":
        return communication_fault(detail, 503, transient=True)
    if state[:2] == "28":
        return authentication_fault(detail)
    if state in ("42501", "25006"):
        return authorization_fault(detail)
    if state == "23505":
        return communication_fault(detail, 409)
    if state[:2] in ("22", "23", "42"):
        return validation_fault(detail)
    return communication_fault(detail, 500)


@asynccontextmanager
async def open_postgres(call: Call, address: Address, tls: bool) -> AsyncIterator[PostgresSession]:
    """Connect to PostgreSQL; the certificate has to name the URL's host, wherever that is mapped to."""
    host, port = call.network.address(address.host, address.port)
    with answers_of(address.name):
        connection = await asyncpg.connect(
            host=host,
            port=port,
            user=address.user,
            password=address.password,
            database=address.database,
            ssl=tls_named(call.network.tls(), address.host) if tls else False,
            timeout=_CONNECT_SECONDS,
            statement_cache_size=0,  # the connection lives for one action, and poolers dislike caches
        )
    finished = False
    try:
        yield PostgresSession(connection)
        finished = True
    finally:
        try:
            # A statement that was given up is cancelled in the server, too.
            await connection.close(timeout=None if finished else CLOSE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
