"""Opens a database with a worker that drives its runs: the one place where store, gate and worker meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from tenuto import __version__
from tenuto.engine.model import Json
from tenuto.engine.ports import Chance, Clock, DocumentRow
from tenuto.operations.desk import Desk
from tenuto.operations.requests import answer
from tenuto.runtime.actions import Functions, Gate, Invocable
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.control import answering
from tenuto.runtime.definitions import builder
from tenuto.runtime.evaluation import Evaluator
from tenuto.runtime.hot import Definition
from tenuto.runtime.network import SystemNetwork, parse_resolve
from tenuto.runtime.system import SystemChance, SystemClock
from tenuto.runtime.worker import Worker
from tenuto.settings import Settings
from tenuto.storage.sqlite import open_journal

STEP_PREFIX: Final = "python."
"""What the names of all functions that are steps begin with; told here, where nothing of Python is loaded."""


class Front(Protocol):
    """What runs workflows and steps in Python; see `runtime.python`."""

    def documents(self) -> list[DocumentRow]:
        """Return the workflows as they are stored."""

    def build(self, row: DocumentRow) -> Definition:
        """Make a stored workflow ready to run."""

    def find(self, name: str) -> Invocable:
        """Return a step by its function's name."""

    def undo_of(self, name: str) -> str | None:
        """Return the function that undoes a step; None if there is none."""

    def admit(
        self, function: str, arguments: dict[str, Json], begin: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Let a step's call begin when its limits allow it."""

    async def close(self) -> None:
        """Stop what runs beside the event loop."""


class Later:
    """The front for Python, made when the first of it is needed."""

    def __init__(self, make: Callable[[Functions], Front], catalog: Catalog) -> None:
        self._make = make
        self._catalog = catalog
        self._made: Front | None = None

    def now(self) -> Front:
        """Return it."""
        if self._made is None:
            self._made = self._make(self._catalog)
        return self._made

    def build(self, row: DocumentRow) -> Definition:
        """Make a workflow in Python ready to run."""
        return self.now().build(row)

    def find(self, name: str) -> Invocable:
        """Return a step, or a function of a connector."""
        if name.startswith(STEP_PREFIX):
            return (self._made or self.now()).find(name)
        return self._catalog.find(name)

    def undo_of(self, name: str) -> str | None:
        """Return the function that undoes a step, or a function of a connector."""
        return self.now().undo_of(name) if name.startswith(STEP_PREFIX) else self._catalog.undo_of(name)

    def admit(
        self, function: str, arguments: dict[str, Json], begin: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Let a function's call begin when its limits allow it; only steps have some."""
        if function.startswith(STEP_PREFIX):
            return (self._made or self.now()).admit(function, arguments, begin)
        begin()
        return None

    async def close(self) -> None:
        """Stop it, if there is one."""
        if self._made is not None:
            await self._made.close()


@asynccontextmanager
async def opened(
    settings: Settings,
    command: str,
    python: Callable[[Functions], Front],
    *,
    at_once: bool,
    records_only: bool = False,
    clock: Clock | None = None,
    chance: Chance | None = None,
) -> AsyncIterator[Desk]:
    """Open the database for writing, with a worker that drives its runs.

    Args:
        settings: Where the database is, and everything else.
        command: How the holder of the database is called, when another process asks for it.
        python: Makes what runs workflows in Python.
        at_once: Make it now: there is code. Otherwise it is made when a run needs it.
        records_only: Carry nothing out; what runs are told is recorded.
        clock: Where time comes from; without it the system's.
        chance: Where ids come from; without it the system's.
    """
    catalog, clock = Catalog.discover(), clock or SystemClock()
    folders = (*(path if path.is_dir() else path.parent for path in settings.known), Path.cwd())
    workers: list[Worker] = []

    def failed(error: BaseException) -> None:
        for worker in workers:
            worker.fail(error)

    journal = await open_journal(settings.database, failed=failed, command=command)
    later = Later(python, catalog)
    try:
        documents = later.now().documents() if at_once else []
        evaluator = Evaluator(
            time_limit_seconds=settings.expression_ms / 1000,
            memory_limit_bytes=settings.expression_memory_mib * 1024 * 1024,
        )
        gate = Gate(later, network(settings), settings.secrets)
        build = builder(later, folders, later.build)
        chance = chance or SystemChance()
        worker = Worker(
            journal,
            gate,
            evaluator,
            build,
            clock,
            chance,
            __version__,
            records_only=records_only,
            admit=later.admit,
        )
        workers.append(worker)
        desk = Desk(journal=journal, runner=worker, clock=clock, chance=chance)
        try:
            if documents:
                # Runs of other workflows start these by name.
                await journal.put_documents(documents)
            async with answering(settings.database, partial(answer, desk)):
                yield desk
        finally:
            await worker.close()
            await evaluator.close()
    finally:
        await later.close()
        await journal.close()


def network(settings: Settings) -> SystemNetwork:
    """Return how connectors reach other machines."""
    mapping: dict[tuple[str, int], tuple[str, int]] = {}
    for rules in settings.resolve:
        mapping.update(parse_resolve(rules))
    file, folder = settings.certificates_file, settings.certificates_folder
    return SystemNetwork(
        mapping,
        trust_file=None if file is None else str(file),
        trust_folder=None if folder is None else str(folder),
    )
