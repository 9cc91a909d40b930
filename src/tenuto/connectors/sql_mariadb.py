"""Sessions with MariaDB and MySQL, whose driver blocks and therefore works in a thread."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import pymysql

from tenuto.connectors.sockets import answers_of, open_socket
from tenuto.connectors.sql_session import (
    Address,
    Outcome,
    OwnThread,
    distinct,
    from_json,
    limited,
    named,
    to_json,
)
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

_Answer = TypeVar("_Answer")

_STATUS: Final[dict[int, Callable[[str], Faulted]]] = {
    **dict.fromkeys((1045, 1698, 1251), authentication_fault),
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370, 1290, 1792), authorization_fault),
    **dict.fromkeys((1062, 1586), lambda detail: communication_fault(detail, 409)),
    **dict.fromkeys((1969, 3024), timeout_fault),
    **dict.fromkeys(
        # too many connections, lock waits and deadlocks, shutdown, killed, gone away, lost
        (1040, 1203, 1205, 1213, 1053, 1927, 2006, 2013, 2014),
        lambda detail: communication_fault(detail, 503, transient=True),
    ),
}
_UNFIT: Final = (
    pymysql.ProgrammingError,
    pymysql.IntegrityError,
    pymysql.DataError,
    pymysql.NotSupportedError,
)
_UNFIT_CODES: Final = frozenset({1048, 1054, 1146, 1364, 1366, 3819, 4025})


class MariadbSession:
    """A session with a MariaDB database."""

    dialect: Dialect = "mariadb"

    def __init__(self, connection: pymysql.Connection[Any], wire: socket.socket, thread: OwnThread) -> None:
        self._connection = connection
        self._wire = wire
        self._thread = thread

    async def begin(self, *, read_only: bool) -> None:
        """Begin a transaction."""
        await self.do(lambda: self._connection.query(f"START TRANSACTION {'READ ONLY' if read_only else ''}"))

    async def run(self, statement: str, values: Mapping[str, Any], limit: int) -> Outcome:
        """Carry out one statement."""
        text, parameters = bind(statement, values, "mariadb")
        given = tuple(from_json(value) for _, value in parameters)

        def work() -> Outcome:
            with self._connection.cursor() as cursor:
                affected = cursor.execute(text, given)
                columns = distinct([column[0] for column in cursor.description or ()])
                rows = limited(list(cursor.fetchmany(limit + 1)), limit) if columns else []
                return Outcome([named(columns, row, to_json) for row in rows], affected)

        return await self.do(work)

    async def commit(self) -> None:
        """Make the transaction last."""
        await self.do(self._connection.commit)

    async def rollback(self) -> None:
        """Take the transaction back."""
        await self.do(self._connection.rollback)

    async def do(self, work: Callable[[], _Answer]) -> _Answer:
        """Do blocking work with the connection; cancellation cuts the line."""
        return await self._thread.do(work, self.cut)

    def cut(self) -> None:
        """Cut the line, so that a thread that waits for an answer goes on."""
        with suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)


def fault(error: Exception, name: str) -> Faulted | None:
    """Return what an error of MariaDB means to a workflow, or None if it is not one."""
    if not isinstance(error, pymysql.MySQLError):
        return None
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    detail = f"{name}: {error.args[1] if len(error.args) > 1 else error} (error {code})"
    if code in _STATUS:
        return _STATUS[code](detail)
    if isinstance(error, _UNFIT) or code in _UNFIT_CODES:
        return validation_fault(detail)
    return communication_fault(detail, 500)


@asynccontextmanager
async def open_mariadb(call: Call, address: Address, tls: bool) -> AsyncIterator[MariadbSession]:
    """Connect to MariaDB; the certificate has to name the URL's host, wherever that is mapped to."""
    with answers_of(address.name):
        wire = await open_socket(call, address.host, address.port)
    wire.setblocking(True)
    watched = wire.dup()  # the driver may wrap and replace its own
    connection = pymysql.Connection(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        charset="utf8mb4",
        autocommit=True,
        local_infile=False,
        ssl=call.network.tls() if tls else None,
        ssl_disabled=not tls,
        defer_connect=True,
    )
    thread = OwnThread()
    session = MariadbSession(connection, watched, thread)
    try:
        with answers_of(address.name):
            try:
                await session.do(lambda: connection.connect(wire))
            except pymysql.OperationalError as error:
                beneath = getattr(error, "original_exception", None)
                raise (beneath if isinstance(beneath, OSError) else error) from None
        yield session
    finally:
        try:
            if connection.open:
                await thread.do(connection.close, session.cut)
        finally:
            thread.close()
            wire.close()
            watched.close()
