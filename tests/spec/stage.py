"""Where the standard's examples are played: one process's worth of Tenuto with everything installed.

The store is a real file, the functions are the installed ones, the clock is the test's. Time passes
while nothing runs: the worker stops, the clock is set, and a new one takes up what waits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tenuto.engine.model import Arrived, CancelRequested, Entry
from tenuto.engine.ports import DocumentRow, Journal, RunRow
from tenuto.operations.documents import check, definition
from tenuto.plugin import Network
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.definitions import builder
from tenuto.runtime.evaluation import Evaluator
from tenuto.runtime.system import SystemChance
from tenuto.runtime.worker import Worker
from tenuto.storage.sqlite import open_journal

PATIENCE_SECONDS = 30.0  # real time after which a run that does not move fails the test
BEGIN = 1_700_000_000.0

HEAD = "document: {dsl: '1.0.3', namespace: test, name: %s, version: '1.0.0'}\ndo:\n"
EAR = HEAD % "ear" + "- hear: {listen: {to: {any: [], until: '${ false }'}}}\n"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = BEGIN

    def now(self) -> float:
        """Return the time that was set."""
        return self.time


class Stage:
    """A worker over a database file; `reopened` after each time that passes."""

    def __init__(self, folder: Path, catalog: Catalog, network: Network, secrets: dict[str, Any]) -> None:
        self.clock = Clock()
        self._folder = folder
        self._catalog = catalog
        self._network = network
        self._secrets = secrets
        self._news = asyncio.Event()
        self._sent = 0
        self._ear: str | None = None
        self.journal: Journal
        self.worker: Worker
        self._evaluator: Evaluator

    async def open(self) -> None:
        """Open the store and start a worker."""
        self.journal = await open_journal(
            self._folder / "tenuto.db", failed=lambda error: self.worker.fail(error)
        )
        self._evaluator = Evaluator()
        self.worker = Worker(
            self.journal,
            Gate(self._catalog, self._network, self._secrets),
            self._evaluator,
            builder(self._catalog, (self._folder,)),
            self.clock,
            SystemChance(),
            "0.1.0",
        )
        self.worker.watch(lambda run, seq, entry: self._news.set())

    async def close(self) -> None:
        """Stop the worker and close the store."""
        await self.worker.close()
        await self._evaluator.close()
        await self.journal.close()

    async def know(self, *sources: str) -> None:
        """Make documents known, as `--with` does."""
        await self.journal.put_documents([document(source) for source in sources])

    async def start(self, source: str, data: Any) -> str:
        """Start a run of a document; return its id."""
        return await self.worker.start(document(source), data)

    async def until(self, run: str, fits: Callable[[RunRow], bool]) -> RunRow:
        """Return a run's row as soon as it fits."""
        row = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    self._news.clear()
                    row = await self.journal.run(run)
                    if row is not None and fits(row):
                        return row
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"nothing more happens: {row}") from None

    async def ended(self, run: str) -> RunRow:
        """Return a run's row when it is over."""
        return await self.until(run, lambda row: row.ended is not None)

    async def sleeping(self, run: str) -> RunRow:
        """Return a run's row when only time or events can move it."""
        return await self.until(run, lambda row: row.status == "waiting")

    async def pass_time(self, seconds: float) -> None:
        """Let time pass while no worker is there."""
        await self.close()
        self.clock.time += seconds
        await self.open()
        await self.worker.recover()
        await self.journal.flush()

    async def emit(self, event: dict[str, Any]) -> None:
        """Send an event from another run, as workflows do."""
        self._sent += 1
        source = HEAD % f"sender-{self._sent}" + "- send: {emit: {event: {with: %s}}}\n" % json.dumps(event)
        run = await self.start(source, None)
        await self.ended(run)

    async def cancel(self, run: str) -> None:
        """Cancel a run."""
        await self.worker.tell(run, CancelRequested(self.clock.now()))

    async def listen(self) -> None:
        """Hear of every event from now on; see `heard`."""
        self._ear = await self.start(EAR, None)
        await self.sleeping(self._ear)

    async def heard(self) -> list[dict[str, Any]]:
        """Return the events that were emitted since `listen`, in order."""
        row = await self.journal.run(self._ear or "")
        assert row is not None
        pages = await self.journal.history(row.number)
        entries = [msgspec.json.decode(entry, type=Entry).event for _, entry in pages]
        return [event.event for event in entries if isinstance(event, Arrived)]


def document(source: str) -> DocumentRow:
    """Return a document as it is stored; fails on one with mistakes."""
    return definition(check("example.yaml", source.encode()))


@asynccontextmanager
async def stage(
    folder: Path, catalog: Catalog, network: Network, secrets: dict[str, Any]
) -> AsyncIterator[Stage]:
    """Give a stage over a new database in `folder`, which is also where files are looked up."""
    made = Stage(folder, catalog, network, secrets)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
