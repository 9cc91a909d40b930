"""The process that is killed: an App with everything in `work`, told over a socket what to do.

    {"id": 7, "verb": "start", "run": "r1", "value": {...}}   ->   {"id": 7, "what": "ok", "value": ...}
    nothing, when it cannot begin                             ->   {"refused": ["database-held", "..."]}
                                                              ->   {"entries": [["r1", 1, "6f0a..."], ["r1", 2, "93be..."]]}

It sends each entry that became durable, by its digest, and answers once what was asked for is. With `--nursery` it is what
such processes are forked from, so that one is there in some milliseconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from typing import Any, Final
from unittest import mock

import msgspec

from tenuto import App, TenutoError
from tenuto.engine.model import Entry
from tenuto.operations.desk import Desk
from tenuto.operations.runs import emit_event, end_run
from tenuto.storage.journal import DatabaseJournal
from tenuto.storage.sqlite import open_journal
from tests.reliability.evidence import digest_of
from tests.reliability.house import work

LINE_BYTES_MAX = 16 * 1024 * 1024
PR_SET_PDEATHSIG: Final = 1
"""Of `linux/prctl.h`."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is told when it begins.

    `within` are context managers to be in all the time, as `module:name`; `bug` is one of the zoo. A process that
    is to `hold` says so and waits for a line: before it opens its database (`start`), when the database is open
    and nothing is in it yet (`opened`), or before it closes it (`close`).
    """

    database: str
    ledger: str
    errors: str
    life: int = 1
    bug: str | None = None
    within: tuple[str, ...] = ()
    hold: str = ""


class TurnedClock:
    """The machine's clock, and what somebody has set it forward."""

    def __init__(self) -> None:
        self.forward_seconds = 0.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time() + self.forward_seconds


class Watched(App):
    """An App whose entries are shown from the first moment on."""

    def __init__(self, show: Any, **given: Any) -> None:
        super().__init__(**given)
        self._show = show

    def _opened(self) -> AbstractAsyncContextManager[Desk]:
        return self._watching(super()._opened())

    @asynccontextmanager
    async def _watching(self, opened: AbstractAsyncContextManager[Desk]) -> AsyncIterator[Desk]:
        async with opened as desk:
            desk.runner.watch(self._show)
            yield desk


@contextmanager
def open_but_empty(held: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Wait for `held` each time that a database was opened, before anything else is done with it."""

    async def open_and_hold(*given: Any, **named: Any) -> DatabaseJournal:
        journal = await open_journal(*given, **named)
        await held()
        return journal

    with mock.patch("tenuto.opening.open_journal", open_and_hold):
        yield


class Service:
    """Answers what comes over the socket."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._clock = TurnedClock()
        self._shown: list[tuple[str, int, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def serve(self, connection: socket.socket) -> None:
        """Work until the other side hangs up or asks for the end."""
        self._connection = connection.fileno()
        reader, self._writer = await asyncio.open_connection(sock=connection, limit=LINE_BYTES_MAX)
        orders = self._orders
        app = Watched(
            self._show,
            workflows=work.WORKFLOWS,
            steps=work.STEPS,
            documents=work.DOCUMENTS,
            database=orders.database,
            secrets={"token": work.CANARY},
            clock=self._clock,
        )
        async with AsyncExitStack() as stack:
            if orders.hold == "opened":
                stack.enter_context(open_but_empty(partial(self._hold, reader)))
            try:
                await stack.enter_async_context(app)
            except TenutoError as error:
                self._say({"refused": [error.code, error.message]})
                raise
            self._say({"ready": os.getpid()})
            while line := await reader.readline():
                request = msgspec.json.decode(line)
                if request["verb"] == "close":
                    self._closing = True
                    break
                task = asyncio.create_task(self._take(app, request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if not line:
                os._exit(0)  # who has started this is gone
            if orders.hold == "close":
                await self._hold(reader)
        self._say({"id": request["id"], "what": "ok"})
        await self._writer.drain()

    async def _hold(self, reader: asyncio.StreamReader) -> None:
        self._say({"held": os.getpid()})
        await reader.readline()

    def _say(self, value: Any) -> None:
        """Send a line, by a call to the system (`write`) that nobody else here makes."""
        data = msgspec.json.encode(value) + b"\n"
        if not self._writer.transport.get_write_buffer_size():
            with suppress(BlockingIOError):
                data = data[os.write(self._connection, data) :]
        if data:
            self._writer.write(data)

    def _show(self, run: str, seq: int, entry: Entry) -> None:
        if not self._shown:
            asyncio.get_running_loop().call_soon(self._flush)
        self._shown.append((run, seq, digest_of(msgspec.json.encode(entry))))

    def _flush(self) -> None:
        shown, self._shown = self._shown, []
        self._say({"entries": shown})

    async def _take(self, app: App, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": request["id"], "what": "ok"}
        try:
            answer["value"] = await self._do(
                app, request["verb"], request.get("run", ""), request.get("value")
            )
        except TenutoError as error:
            unknown = self._closing or error.code in ("storage-failed", "unavailable")
            answer |= {"what": "info" if unknown else "fail", "value": [error.code, error.message]}
        self._say(answer)

    async def _do(self, app: App, verb: str, run: str, value: Any) -> Any:
        handle = app.handle(run)
        match verb:
            case "start":
                workflow = next((each for each in work.WORKFLOWS if each.name == value["workflow"]), None)
                if workflow is not None:
                    await app.start(workflow, value["input"], id=run)
                else:
                    await app.start_document(value["workflow"], value["input"], namespace="house", id=run)
            case "signal":
                await handle.signal(value["name"], value["data"])
            case "emit":
                return await emit_event(app.desk, value["type"], value["data"], {})
            case "cancel":
                await handle.cancel()
            case "suspend":
                await handle.suspend()
            case "resume":
                await handle.resume()
            case "end":
                row = await end_run(app.desk, run)
                return {"status": row.status, "outcome": row.outcome}
            case "open":
                return [(row.id, row.status) for row in await app.desk.journal.open_runs()]
            case "clock":
                self._clock.forward_seconds = value
            case _:
                raise AssertionError(verb)
        return None


def begin(orders: Orders, connection: socket.socket) -> None:
    """Be the process that is killed."""
    connection.set_inheritable(False)
    _end_with_its_parent()
    os.environ |= {work.ADDRESS: orders.ledger, work.LIFE: str(orders.life)}
    errors = os.open(orders.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    os.close(errors)
    with ExitStack() as stack:
        if orders.bug is not None:
            zoo = importlib.import_module("tests.reliability.zoo")
            stack.enter_context(zoo.BUGS[orders.bug]())
        for name in orders.within:
            module, _, attribute = name.partition(":")
            stack.enter_context(getattr(importlib.import_module(module), attribute)())
        if orders.hold == "start":
            connection.sendall(b'{"held": %d}\n' % os.getpid())
            connection.recv(1)
        asyncio.run(Service(orders).serve(connection))


def _end_with_its_parent() -> None:
    """Be killed when who has begun this is gone: a process that is stopped does not notice that by itself."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def nursery(control: socket.socket) -> None:
    """Fork a process for each message: its orders, and its end of a socket."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to wait for them
    while True:
        message, descriptors, *_ = socket.recv_fds(control, LINE_BYTES_MAX, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            status = 1
            try:
                begin(msgspec.json.decode(message, type=Orders), socket.socket(fileno=descriptors[0]))
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(descriptors[0])
        control.send(b"%d" % pid)


def main() -> None:
    """Be what the command line says: `--nursery FD`, or `FD ORDERS`."""
    if sys.argv[1] == "--nursery":
        nursery(socket.socket(fileno=int(sys.argv[2])))
    else:
        begin(msgspec.json.decode(sys.argv[2], type=Orders), socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
