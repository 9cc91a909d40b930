"""One life of a process on a disk that may fail: what it was told, did and saw recorded goes to its standard output.

    python -m tests.reliability.disk.life DATABASE LIFE [--runs 6] [--clients 3] [--pages 30] ...

Each line is one write, so that whoever reads has it whole or not at all, and knows of it at the moment at
which the outside could have known:

    ready                    the App is open, every run that was not over is taken up
    call {...}               a line of a client's history (`Call`)
    effect {...}             a step reached the world (`Effect`)
    durable RUN SEQ DIGEST   an entry was shown to a watcher (`digest_of`)
    refused MESSAGE          the store has failed; nothing may be acknowledged or done below this line
    failed {...}             what a user's program would say of it (`code`, `message`, `hint`)
    over                     all runs are over

It ends when all runs are, or at the first failure, which it reports as a user's program would: uncaught.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec

from tenuto import App, RunCancelled, Signal, current_step, gather, opening, sleep, step, workflow
from tenuto.engine.model import Entry, Json
from tenuto.engine.ports import DocumentRow
from tenuto.errors import Conflict, StorageFailed, Unavailable
from tenuto.operations.documents import check, definition
from tenuto.storage import journal, sqlite
from tenuto.storage.journal import DatabaseJournal
from tests.reliability.evidence import Call, Effect, digest_of

GO: Final = Signal("go", int)
LARGE: Final = "x" * 300
"""What some steps answer: longer than `--inline` lets an entry be, so that it goes to the blobs."""

DOCUMENT: Final = """
document: {dsl: 1.0.3, namespace: house, name: chores, version: 1.0.0}
do:
  - each:
      for: {each: item, in: "${ [1, 2, 3] }"}
      do:
        - act:
            call: python.act:1.0.0@default
            with: {value: "${ $item }"}
        - pause:
            wait: {milliseconds: 1}
"""

life = 0


def say(kind: str, value: Any = None) -> None:
    """Write a line to standard output, in one piece."""
    data = value if isinstance(value, bytes) else b"" if value is None else msgspec.json.encode(value)
    os.write(1, kind.encode() + b" " + data + b"\n")


def shown(run: str, seq: int, entry: Entry) -> None:
    """Say that an entry was shown as durable."""
    say("durable", f"{run} {seq} {digest_of(msgspec.json.encode(entry))}".encode())


@contextlib.contextmanager
def heard_of_failures() -> Iterator[None]:
    """Say that the store has failed at the moment at which it tells the engine."""
    real = opening.open_journal

    async def opened(
        path: Path, *, failed: Callable[[BaseException], None], **options: Any
    ) -> DatabaseJournal:
        def told(error: BaseException) -> None:
            say("refused", str(error))
            failed(error)

        return await real(path, failed=told, **options)

    with mock.patch.object(opening, "open_journal", opened):
        yield


@step
async def act(value: int) -> str:
    """Reach the world."""
    context = current_step()
    say(
        "effect",
        Effect(
            run=context.run,
            task=context.task,
            key=context.idempotency_key,
            attempt=context.attempt,
            life=life,
            at=time.time(),
            value=value,
        ),
    )
    return LARGE if value % 3 == 0 else f"did {value}"


@workflow(namespace="house")
async def errand(number: int) -> int:
    """A part of a chore."""
    await act(number)
    return number


@workflow(namespace="house")
async def chore(number: int) -> int:
    """Steps one after the other and beside each other, a signal, a timer, a child."""
    await act(number)
    heard = await GO.receive()
    await gather(act(number + 1), errand(number + 2))
    await sleep(0.001)
    await act(heard)
    return heard


def document() -> DocumentRow:
    """Return the workflow in YAML, as it is stored."""
    return definition(check("chores.yaml", DOCUMENT.encode()), None)


class Client:
    """Asks for one thing at a time, and writes down what it is told."""

    def __init__(self, app: App, number: int) -> None:
        self._app = app
        self._number = number
        self._count = count(1)

    async def chore(self, run: str, number: int) -> None:
        """Start a chore, tell it to go, wait for its end."""
        app = self._app
        value = {"workflow": "chore", "input": number}
        await self._ask("start", run, value, lambda: app.start(chore, number, id=run))
        signal = {"name": "go", "data": number * 1000}
        await self._ask("signal", run, signal, lambda: app.handle(run).signal(GO, number * 1000))
        await app.handle(run).result()

    async def document(self, run: str) -> None:
        """Start a document, wait for its end."""
        app = self._app
        value = {"workflow": "chores", "input": {}}
        await self._ask("start", run, value, lambda: app.start_document("chores", namespace="house", id=run))
        await app.handle(run).result()

    async def signal(self, run: str, number: int) -> None:
        """Tell a run of a former life to go; it may have heard already."""
        signal = {"name": "go", "data": number}
        with contextlib.suppress(Conflict):
            await self._ask("signal", run, signal, lambda: self._app.handle(run).signal(GO, number))

    async def _ask(self, verb: str, run: str, value: Json, ask: Callable[[], Any]) -> None:
        number = next(self._count)

        def line(what: Any) -> None:
            say(
                "call",
                Call(
                    client=self._number,
                    number=number,
                    what=what,
                    verb=verb,
                    run=run,
                    at=time.time(),
                    value=value,
                ),
            )

        line("invoke")
        try:
            await ask()
        except Conflict:
            line("fail")
            raise
        line("ok")


async def live(options: argparse.Namespace) -> None:
    """Take up what is there, do new runs, wait until all are over."""
    app = App(workflows=[chore, errand], steps=[act], database=options.database)
    numbers = iter(range(1, options.runs + 1))

    async def work(client: Client) -> None:
        for number in numbers:
            run = f"{life}-{number}"
            if number % 3 == 0:
                await client.document(run)
            else:
                await client.chore(run, life * 10_000 + number * 10)

    with heard_of_failures():
        async with app:
            app.desk.runner.watch(shown)
            await app.desk.journal.put_documents([document()])
            say("ready")
            clients = [Client(app, life * 1000 + number) for number in range(options.clients)]
            await asyncio.gather(*[work(client) for client in clients], take_up(app, options.clients))
            say("over")


async def take_up(app: App, clients: int) -> None:
    """Bring the runs of former lives to their end: some still wait for a signal."""
    rows = [row for row in await app.desk.journal.open_runs() if not row.id.startswith(f"{life}-")]
    client = Client(app, life * 1000 + clients)
    for row in rows:
        if row.name == "chore":
            await client.signal(row.id, life * 10_000 + row.number)
    for row in rows:
        with contextlib.suppress(RunCancelled):
            await app.handle(row.id).result()


def main() -> None:
    """Live once."""
    global life  # noqa: PLW0603  # which life this is, for the steps
    parser = argparse.ArgumentParser()
    parser.add_argument("database", type=Path)
    parser.add_argument("life", type=int)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--within", metavar="MODULE:NAME", help="a context manager to be in all the time")
    parser.add_argument("--pages", type=int, default=sqlite.CHECKPOINT_PAGES, help="CHECKPOINT_PAGES")
    parser.add_argument("--inline", type=int, default=journal.INLINE_BYTES_MAX, help="INLINE_BYTES_MAX")
    parser.add_argument("--log", type=int, default=sqlite.LOG_BYTES_MAX, help="LOG_BYTES_MAX")
    parser.add_argument("--busy", type=int, default=sqlite.BUSY_TIMEOUT_MS, help="BUSY_TIMEOUT_MS")
    options = parser.parse_args()
    life = options.life
    sqlite.CHECKPOINT_PAGES, sqlite.LOG_BYTES_MAX = options.pages, options.log  # type: ignore[misc]
    sqlite.BUSY_TIMEOUT_MS, journal.INLINE_BYTES_MAX = options.busy, options.inline  # type: ignore[misc]
    module, _, name = (options.within or "contextlib:nullcontext").partition(":")
    with getattr(importlib.import_module(module), name)():
        try:
            asyncio.run(live(options))
        except (StorageFailed, Unavailable) as error:
            say("failed", {"code": error.code, "message": error.message, "hint": error.hint})
            raise SystemExit(3) from None


if __name__ == "__main__":
    main()
